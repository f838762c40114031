"""The report's tables as text, laid out once and set three times: on the page, in Markdown, on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lrlora.studies.report.formatting import (
    MISSING,
    Scale,
    at_steps,
    count,
    decimal,
    mebibytes,
    milliseconds,
    percentage,
    plural,
    probability,
    significant,
)
from lrlora.studies.report.layers import LayerSummary
from lrlora.studies.report.source import Record
from lrlora.studies.report.straight import straight_layers
from lrlora.studies.report.summary import StudySummary, VariantSummary
from lrlora.studies.report.verdicts import Verdict
from lrlora.studies.spec.claims import Claim


@dataclass(frozen=True)
class Column:
    """A column: its heading, whether it holds numbers (set to the right) or words, and whether these may wrap."""

    heading: str
    numeric: bool = True
    wraps: bool = False


@dataclass(frozen=True)
class Table:
    """A table of finished text.

    Attributes:
        key: A name for anchors.
        caption: One sentence.
        columns: The columns; the first names the row.
        rows: The cells, as many in each row as there are columns.
        emphasised: Indices of the rows to set apart: the reference's.
        links: Where on the page, or beside it, a cell leads; by row and column.
        anchors: Anchors of rows, by row.
    """

    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasised: frozenset[int] = frozenset()
    links: Mapping[tuple[int, int], str] = field(default_factory=dict)
    anchors: Mapping[int, str] = field(default_factory=dict)


def result_table(summary: StudySummary) -> Table:
    """The metric per variant, its paired difference, and the paper's figures where there are any."""
    scale = Scale.of(summary.metric)
    columns = [
        Column("Variant", False),
        Column("Runs", False, wraps=True),
        Column(f"{summary.metric}{scale.unit.replace(' ', ', ')}"),
    ]
    compared = summary.reference_variant is not None or bool(summary.comparisons)
    to = summary.partner
    published = any(variant.published for variant in summary.variants if not variant.is_reference)
    if compared:
        columns += [
            Column(f"Difference to {to} [95 %]" if to else "Difference [95 %]"),
            Column("p, Holm"),
            Column("Detectable"),
        ]
    if published:
        columns += [Column("Paper"), Column("Paper, difference"), Column("Against the paper", False)]
    rows = []
    for variant in summary.variants:
        row = [
            variant.name,
            runs(variant),
            MISSING if variant.metric is None else scale.spread(variant.metric.mean, variant.metric.std),
        ]
        if compared:
            row += _difference_cells(variant, scale, name_partner=to is None)
        if published:
            row += _paper_cells(variant)
        rows.append(tuple(row))
    caption = f"{summary.metric.capitalize()} on the {summary.split} over {summary.unit}s (mean ± standard deviation)"
    if compared:
        caption += f", and the paired difference to {to or 'the variant that is named'}, in {scale.unit_in_words}"
    links = {(index, 1): f"#runs-{index + 1}" for index in range(len(rows))}
    return Table("results", caption + ".", tuple(columns), tuple(rows), reference_rows(summary), links)


def test_table(summary: StudySummary) -> Table | None:
    """The paired tests in full; None without comparisons."""
    scale = Scale.of(summary.metric)
    across_tasks = any(comparison.across_tasks for comparison in summary.comparisons)
    rows = []
    for comparison in summary.comparisons:
        found = comparison.difference
        rows.append(
            (
                comparison.of if summary.partner else f"{comparison.of} to {comparison.against}",
                str(found.n),
                scale.value(found.mean, signed=True),
                scale.value(found.std),
                scale.interval(found.low, found.high),
                scale.interval(found.bootstrap_low, found.bootstrap_high),
                *([scale.interval(*(comparison.across_tasks or (None, None)))] if across_tasks else []),
                probability(found.p),
                probability(comparison.p_holm),
                decimal(found.effect_size, 2, signed=True),
                scale.value(found.detectable),
            )
        )
    if not rows:
        return None
    headings = ["Pairs", "Difference", "Std", "95 %, paired t", "95 %, BCa"]
    headings += ["95 %, tasks and seeds"] if across_tasks else []
    headings += ["p", "p, Holm", "d_z", "Detectable"]
    columns = (Column("Variant", False), *(Column(heading) for heading in headings))
    caption = f"Paired tests{' against ' + summary.partner if summary.partner else ''}, in {scale.unit_in_words}."
    return Table("tests", caption, columns, tuple(rows))


def _margin(claim: Claim, scale: Scale) -> str:
    if claim.margin is None:
        return MISSING
    sign = "±" if claim.kind == "equivalence" else "at most +"
    return f"{sign}{scale.value(claim.margin)}{scale.difference_unit}"


def claim_table(summary: StudySummary) -> Table | None:
    """The study's claims with ours beside the paper's figure, and the verdict; None where it makes none."""
    rows = []
    for verdict in summary.verdicts:
        claim, scale = verdict.claim, claim_scale(verdict)
        rows.append(
            (
                claim.says,
                found_here(verdict),
                _margin(claim, scale),
                probability(verdict.p_holm),
                published_figure(claim),
                claim.source or MISSING,
                verdict.decision,
            )
        )
    if not rows:
        return None
    columns = (
        Column("Claim", False, wraps=True),
        Column("Here [95 %]"),
        Column("Margin"),
        Column("p, Holm"),
        Column("Paper"),
        Column("Where", False, wraps=True),
        Column("Verdict", False, wraps=True),
    )
    return Table("claims", "What the study was to decide.", columns, tuple(rows))


def claim_scale(verdict: Verdict) -> Scale:
    """How the figures of a claim are printed: those of a relative one in per cent of what it stands against."""
    return Scale(100.0, " %", " %", 2) if verdict.claim.relative else Scale.of(verdict.metric)


def found_here(verdict: Verdict) -> str:
    """What a claim came to, with its interval and unit."""
    claim, found, scale = verdict.claim, verdict.found, claim_scale(verdict)
    if found is None:
        return MISSING
    per = "" if claim.kind != "trend" else " per doubling" if claim.scale == "log2" else " per unit"
    return scale.difference(found.mean, found.low, found.high) + scale.difference_unit + per


def published_figure(claim: Claim) -> str:
    """The published difference, or several; those of a relative claim in per cent."""
    if claim.paper is None:
        return MISSING
    factor, unit = (100.0, " %") if claim.relative else (1.0, "")
    figures = claim.paper if isinstance(claim.paper, list) else [claim.paper]
    return ", ".join(f"{factor * figure:+g}".replace("-", "−") for figure in figures) + unit


def cost_table(summary: StudySummary) -> Table:
    """Parameters, time and memory."""
    columns = (
        Column("Variant", False),
        Column("Trainable"),
        Column("Adapter"),
        Column("Transfer φ"),
        Column("Step, ms"),
        Column(f"Step ÷ {summary.reference or 'reference'}"),
        Column("Peak memory, MiB"),
    )
    rows = tuple(
        (
            variant.name,
            *(count(variant.parameters.get(kind)) for kind in ("trainable", "adapter", "transfer")),
            milliseconds(variant.step_seconds),
            decimal(variant.step_ratio, 2),
            mebibytes(variant.peak_memory_bytes),
        )
        for variant in summary.variants
    )
    return Table("cost", "Trained parameters, step time and memory.", columns, rows, reference_rows(summary))


def layer_table(summary: StudySummary) -> Table:
    """What training made of the layers."""
    headings = ["Layers", "Stable rank", "Nonlinear, mean", "Nonlinear, max", "max |z|", "Outside grid"]
    evaluated = any(variant.layers and variant.layers.evaluations for variant in summary.variants)
    straight = {v.name: straight_layers(summary.records_of(v.name)) for v in summary.variants if v.has_transfer}
    counted = any(found is not None for found in straight.values())
    proposed = any(found is not None and found.proposed is not None for found in straight.values())
    rows = []
    for variant in summary.variants:
        layers = variant.layers
        if layers is None:
            rows.append((variant.name, *[MISSING] * (len(headings) + counted + proposed + evaluated)))
            continue
        spread = "" if layers.stable_rank_std is None else f" ± {decimal(layers.stable_rank_std, 2)}"
        found = straight.get(variant.name)
        rows.append(
            (
                variant.name,
                str(layers.layers),
                decimal(layers.stable_rank, 2) + spread,
                percentage(layers.nonlinear_fraction),
                percentage(layers.nonlinear_fraction_max),
                significant(layers.max_abs_z),
                percentage(layers.outside_grid) if variant.has_transfer else MISSING,
                *([f"{found.straight} of {found.layers}" if found else MISSING] if counted else []),
                *([significant(found.proposed if found else None)] if proposed else []),
                *([_evaluated_by(layers)] if evaluated else []),
            )
        )
    columns = (Column("Variant", False), *(Column(heading) for heading in headings))
    columns += (Column("Straight lines"),) if counted else ()
    columns += (Column("Proposed s_in"),) if proposed else ()
    columns += (Column("Evaluated as", False, wraps=True),) if evaluated else ()
    caption = "What training made of the adapted layers: stable rank of ΔW, and how far φ bends."
    return Table("layers", caption, columns, tuple(rows), reference_rows(summary))


def status(record: Record) -> str:
    """A cell's outcome in words."""
    if record.get("status") == "diverged":
        step = record.get("diverged_at")
        return "diverged" if step is None else f"diverged at step {step}"
    if record.get("status") == "failed":
        return f"failed: {record.get('reason') or 'no reason recorded'}"
    return str(record.get("status"))


def runs(variant: VariantSummary) -> str:
    """How many cells finished, and what became of the others."""
    parts = [str(variant.finished)]
    if variant.diverged:
        parts.append(f"{len(variant.diverged)} diverged{at_steps(variant.diverged)}")
    if variant.failed:
        parts.append(f"{len(variant.failed)} failed")
    return ", ".join(parts)


def _evaluated_by(layers: LayerSummary) -> str:
    """The commonest way in which ΔW was evaluated, how many others there are, and the largest error made."""
    if not layers.evaluations:
        return MISSING
    commonest = next(iter(layers.evaluations))
    others = len(layers.evaluations) - 1
    error = layers.evaluation_error
    return (
        commonest
        + (f" and {plural(others, 'other')}" if others else "")
        + (f", error up to {error:.0e}" if error else "")
    )


def _difference_cells(variant: VariantSummary, scale: Scale, name_partner: bool) -> list[str]:
    if variant.comparison is None:
        return ["reference" if variant.is_reference else MISSING if name_partner else "no pair", MISSING, MISSING]
    found = variant.comparison.difference
    to = f" to {variant.comparison.against}" if name_partner else ""
    return [
        scale.difference(found.mean, found.low, found.high) + to,
        probability(variant.comparison.p_holm),
        scale.value(found.detectable),
    ]


def _paper_cells(variant: VariantSummary) -> list[str]:
    published = variant.published
    if published is None:
        return [MISSING] * 3
    spread = "" if published.std is None else f" ± {published.std:g}"
    verdict = variant.comparison.verdict(published.difference) if variant.comparison else None
    # The note under the table says "at this scale"; the column need not repeat it.
    short = verdict.removesuffix(" at this scale") if verdict else MISSING
    return [f"{published.mean:g}{spread}", decimal(published.difference, 2, signed=True), short]


def reference_rows(summary: StudySummary) -> frozenset[int]:
    """The rows of the reference in a table with a row per variant."""
    return frozenset(index for index, variant in enumerate(summary.variants) if variant.is_reference)

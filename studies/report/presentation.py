"""The report's tables as text, laid out once and set three times: on the page, in Markdown, on the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from lrlora.studies.claims import Claim
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
from lrlora.studies.report.source import Record, label, metric_value
from lrlora.studies.report.summary import StudySummary, VariantSummary


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
    """

    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasised: frozenset[int] = frozenset()


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
    caption = f"{summary.metric.capitalize()} on the test split over {summary.unit}s (mean ± standard deviation)"
    if compared:
        caption += f", and the paired difference to {to or 'the variant that is named'}, in {scale.unit_in_words}"
    return Table("results", caption + ".", tuple(columns), tuple(rows), _reference_rows(summary))


def test_table(summary: StudySummary) -> Table | None:
    """The paired tests in full; None without comparisons."""
    scale = Scale.of(summary.metric)
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
                probability(found.p),
                probability(comparison.p_holm),
                decimal(found.effect_size, 2, signed=True),
                scale.value(found.detectable),
            )
        )
    if not rows:
        return None
    headings = ["Pairs", "Difference", "Std", "95 %, paired t", "95 %, BCa", "p", "p, Holm", "d_z", "Detectable"]
    columns = (Column("Variant", False), *(Column(heading) for heading in headings))
    caption = f"Paired tests{' against ' + summary.partner if summary.partner else ''}, in {scale.unit_in_words}."
    return Table("tests", caption, columns, tuple(rows))


def claim_table(summary: StudySummary) -> Table | None:
    """The study's claims with ours beside the paper's figure, and the verdict; None where it makes none."""
    rows = []
    for verdict in summary.verdicts:
        claim, found = verdict.claim, verdict.found
        scale = Scale.of(verdict.metric)
        ours = MISSING if found is None else scale.difference(found.mean, found.low, found.high)
        unit = "" if found is None else scale.difference_unit
        rows.append(
            (
                claim.says,
                ours + unit + (_per(claim) if found is not None else ""),
                f"±{scale.value(claim.margin)}" if claim.margin is not None else MISSING,
                probability(verdict.p_holm),
                published_figure(claim.paper),
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
        Column("Where", False),
        Column("Verdict", False),
    )
    return Table("claims", "What the study was to decide.", columns, tuple(rows))


def _per(claim: Claim) -> str:
    if claim.kind != "trend":
        return ""
    return " per doubling" if claim.scale == "log2" else " per unit"


def published_figure(paper: float | list[float] | None) -> str:
    """A published difference, or several, as text."""
    if paper is None:
        return MISSING
    return ", ".join(f"{value:+g}".replace("-", "−") for value in (paper if isinstance(paper, list) else [paper]))


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
    return Table("cost", "Trained parameters, step time and memory.", columns, rows, _reference_rows(summary))


def layer_table(summary: StudySummary) -> Table:
    """What training made of the layers."""
    headings = ["Layers", "Stable rank", "Nonlinear, mean", "Nonlinear, max", "max |z|", "Outside grid"]
    evaluated = any(variant.layers and variant.layers.evaluations for variant in summary.variants)
    rows = []
    for variant in summary.variants:
        layers = variant.layers
        if layers is None:
            rows.append((variant.name, *[MISSING] * (len(headings) + evaluated)))
            continue
        spread = "" if layers.stable_rank_std is None else f" ± {decimal(layers.stable_rank_std, 2)}"
        rows.append(
            (
                variant.name,
                str(layers.layers),
                decimal(layers.stable_rank, 2) + spread,
                percentage(layers.nonlinear_fraction),
                percentage(layers.nonlinear_fraction_max),
                significant(layers.max_abs_z),
                percentage(layers.outside_grid) if variant.has_transfer else MISSING,
                *([_evaluated_by(layers)] if evaluated else []),
            )
        )
    columns = (Column("Variant", False), *(Column(heading) for heading in headings))
    if evaluated:
        columns += (Column("Evaluated as", False),)
    caption = "What training made of the adapted layers: stable rank of ΔW, and how far φ bends."
    return Table("layers", caption, columns, tuple(rows), _reference_rows(summary))


def task_table(summary: StudySummary) -> Table | None:
    """The metric per task, over seeds; None for a single task."""
    tasks = list(dict.fromkeys(task for variant in summary.variants for task in variant.by_task))
    if len(tasks) < 2:
        return None
    scale = Scale.of(summary.metric)
    rows = tuple(
        (
            variant.name,
            *(
                scale.spread(found.mean, found.std) if (found := variant.by_task.get(task)) else MISSING
                for task in tasks
            ),
        )
        for variant in summary.variants
    )
    columns = (Column("Variant", False), *(Column(task) for task in tasks))
    caption = f"{summary.metric.capitalize()}{scale.unit.replace(' ', ', ')} by task, over seeds."
    return Table("tasks", caption, columns, rows, _reference_rows(summary))


def cell_table(summary: StudySummary) -> Table:
    """Every cell, so that each number above can be traced to its run."""
    scale = Scale.of(summary.metric)
    columns = (
        Column("Variant", False),
        Column("Task", False),
        Column("Seed"),
        Column(f"{summary.metric}{scale.unit.replace(' ', ', ')}"),
        Column("Status", False, wraps=True),
        Column("MLflow run", False),
        Column("Cell", False),
    )
    rows = tuple(
        (
            str(record["variant"]),
            label(record, "task"),
            label(record, "seed"),
            scale.value(metric_value(record, summary.metric)),
            status(record),
            str(record.get("mlflow_run_id") or MISSING),
            str(record.get("cell", MISSING)),
        )
        for record in summary.records
    )
    return Table("cells", f"The {plural(len(rows), 'recorded cell')}.", columns, rows)


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


def _reference_rows(summary: StudySummary) -> frozenset[int]:
    return frozenset(index for index, variant in enumerate(summary.variants) if variant.is_reference)

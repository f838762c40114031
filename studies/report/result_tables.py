"""The tables of results: the metric per variant, paired differences and tests, and the settings that were tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrlora.studies.report.formatting import MISSING, Scale, at_steps, decimal, probability
from lrlora.studies.report.table import Table, make_table, runs_by_comparison, variant_table
from lrlora.studies.stats.comparisons import compare
from lrlora.studies.stats.paired import PairedDifference
from lrlora.studies.stats.runs import places
from lrlora.studies.stats.source import label
from lrlora.studies.stats.summary import StudySummary, VariantSummary


def result_table(summary: StudySummary) -> Table:
    """Returns the metric per variant, its paired difference, and the published values if there are any."""
    scale = Scale.of(summary.metric)
    compared = summary.reference_variant is not None or bool(summary.comparisons)
    to = summary.partner
    difference = f"Difference to {to} [95 %]" if to else "Difference [95 %]"
    published = any(variant.published for variant in summary.variants if not variant.is_reference)
    rows = []
    for variant in summary.variants:
        metric = MISSING if variant.metric is None else scale.spread(variant.metric.mean, variant.metric.std)
        row = {"Variant": variant.name, "Runs": runs(variant), scale.heading(summary.metric): metric}
        if compared:
            cells = _difference_cells(variant, scale, name_partner=to is None)
            row |= dict(zip((difference, "p, Holm", "Detectable"), cells, strict=True))
        if published:
            row |= dict(
                zip(
                    ("Paper", "Paper, difference", "Against the paper"),
                    _paper_cells(variant, summary.metric),
                    strict=True,
                )
            )
        rows.append(row)
    caption = f"{summary.metric.capitalize()} on the {summary.split} over {summary.unit}s (mean ± standard deviation)"
    if compared:
        caption += f", and the paired difference to {to or 'the named variant'}, in {scale.unit_in_words}"
    links = {(index, 1): f"#runs-{index + 1}" for index in range(len(rows))}
    words = {"Runs", "Against the paper"}
    return variant_table(summary, "results", f"{caption}.", rows, words=words, wraps={"Runs"}, links=links)


def test_table(summary: StudySummary) -> Table | None:
    """Returns the paired tests in full; None without comparisons."""
    scale = Scale.of(summary.metric)
    across_tasks = any(comparison.across_tasks for comparison in summary.comparisons)
    rows = []
    for comparison in summary.comparisons:
        found = comparison.difference
        hierarchical = {"95 %, tasks and seeds": scale.interval(*(comparison.across_tasks or (None, None)))}
        rows.append(
            {
                "Variant": comparison.of if summary.partner else f"{comparison.of} to {comparison.against}",
                "Pairs": str(found.n),
                "Difference": scale.value(found.mean, signed=True),
                "Std": scale.value(found.std),
                "95 %, paired t": scale.interval(found.low, found.high),
                "95 %, BCa": scale.interval(found.bootstrap_low, found.bootstrap_high),
                **(hierarchical if across_tasks else {}),
                "p": probability(found.p),
                "p, Holm": probability(comparison.p_holm),
                "d_z": decimal(found.effect_size, 2, signed=True),
                "Detectable": scale.value(found.detectable),
            }
        )
    caption = f"Paired tests{' against ' + summary.partner if summary.partner else ''}, in {scale.unit_in_words}."
    return make_table("tests", caption, rows, runs=runs_by_comparison(summary)) if rows else None


def place_table(summary: StudySummary) -> Table | None:
    """Returns the metric per task and backbone, over seeds; None for a single one."""
    found = list(dict.fromkeys(place for variant in summary.variants for place in variant.by_place))
    if len(found) < 2:
        return None
    scale = Scale.of(summary.metric)
    rows = [
        {"Variant": variant.name}
        | {
            place: scale.spread(one.mean, one.std) if (one := variant.by_place.get(place)) else MISSING
            for place in found
        }
        for variant in summary.variants
    ]
    caption = f"{scale.heading(summary.metric).capitalize()} by {_several(summary)}, over seeds."
    return variant_table(summary, "places", caption, rows)


@dataclass(frozen=True)
class PlaceDifference:
    """A paired difference over seeds on one task and backbone."""

    of: str
    against: str
    place: str
    difference: PairedDifference


def place_differences(summary: StudySummary) -> list[PlaceDifference]:
    """Returns every comparison on each task and backbone by itself; none if there is a single one of both."""
    by_place = places(summary.runs) if summary.records else {}
    if len(by_place) < 2:
        return []
    family = [(one.of, one.against) for one in summary.comparisons]
    return [
        PlaceDifference(one.of, one.against, place, one.difference)
        for place, runs in by_place.items()
        for one in compare(runs, family, summary.metric)
    ]


def place_difference_table(summary: StudySummary) -> Table | None:
    """Returns the compared pairs on each task and backbone; None for a single one, or without comparisons."""
    found = {(one.of, one.against, one.place): one.difference for one in place_differences(summary)}
    headings = list(dict.fromkeys(place for _, _, place in found))
    if len(headings) < 2:
        return None
    scale = Scale.of(summary.metric)
    rows = [
        {"Variant": one.of if summary.partner else f"{one.of} to {one.against}"}
        | {place: scale.found(found.get((one.of, one.against, place))) for place in headings}
        for one in summary.comparisons
    ]
    to = f" to {summary.partner}" if summary.partner else ""
    caption = (
        f"Paired difference{to} by {_several(summary)}, in {scale.unit_in_words}, with its 95 % interval over seeds. "
        "Not tested one by one: among so many intervals some exclude 0 by chance."
    )
    return make_table("place-differences", caption, rows, runs=runs_by_comparison(summary))


def tuning_table(summary: StudySummary) -> Table | None:
    """Returns the settings that tuning chose for each variant; None for a study without a tuning stage."""
    if not summary.tuned:
        return None
    settings = list(dict.fromkeys(name for found in summary.tuned.values() for name in found))
    rows = [
        {"Variant": variant}
        | {
            name.removeprefix("training.").replace("_", " "): _value(found[name]) if name in found else MISSING
            for name in settings
        }
        for variant, found in summary.tuned.items()
    ]
    emphasised = [index for index, name in enumerate(summary.tuned) if name == summary.reference]
    caption = "The settings that the tuning stage chose for each variant."
    return make_table("tuned", caption, rows, emphasised=emphasised)


def runs(variant: VariantSummary) -> str:
    """Returns how many cells finished, and the outcome of the others."""
    parts = [str(variant.finished)]
    if variant.diverged:
        parts.append(f"{len(variant.diverged)} diverged{at_steps(variant.diverged)}")
    if variant.failed:
        parts.append(f"{len(variant.failed)} failed")
    return ", ".join(parts)


def _difference_cells(variant: VariantSummary, scale: Scale, name_partner: bool) -> list[str]:
    if variant.comparison is None:
        return ["reference" if variant.is_reference else MISSING if name_partner else "no pair", MISSING, MISSING]
    found = variant.comparison.difference
    to = f" to {variant.comparison.against}" if name_partner else ""
    return [scale.found(found) + to, probability(variant.comparison.p_holm), scale.value(found.detectable)]


def _paper_cells(variant: VariantSummary, metric: str) -> list[str]:
    published = variant.published
    if published is None:
        return [MISSING] * 3
    spread = "" if published.std is None else f" ± {published.std:g}"
    verdict = variant.comparison.verdict(published.difference, metric) if variant.comparison else None
    return [f"{published.mean:g}{spread}", decimal(published.difference, 2, signed=True), verdict or MISSING]


def _several(summary: StudySummary) -> str:
    fields = ("task", "backbone")
    return " and ".join(field for field in fields if len({label(r, field) for r in summary.records}) > 1)


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

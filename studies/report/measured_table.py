"""What else was measured of every variant, beside its metric, its cost and its layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from lrlora.studies.report.comparisons import Unit
from lrlora.studies.report.formatting import MISSING, Scale, decimal
from lrlora.studies.report.measures import DERIVED, measure
from lrlora.studies.report.presentation import Column, Table, reference_rows
from lrlora.studies.report.source import Record, label
from lrlora.studies.report.statistics import Estimate, estimate
from lrlora.studies.report.summary import StudySummary

HEADINGS = {
    "convergence_step": "Converged at step",
    "active_basis": "Active basis functions, %",
    "generalization_gap": "Generalisation gap, points",
    "tokens_per_second": "Tokens per second",
}
"""The measures that the table has beside the runs that diverged, where they were recorded."""


def measured_table(summary: StudySummary) -> Table | None:
    """Further measures per variant, mean ± standard deviation; None where nothing was recorded."""
    found = measured(summary)
    shown = [name for name in HEADINGS if any(name in by_measure for by_measure in found.values())]
    diverged = any(variant.diverged for variant in summary.variants)
    if not shown and not diverged:
        return None
    rows = tuple(
        (
            variant.name,
            *(_spread(name, found[variant.name].get(name)) for name in shown),
            f"{len(variant.diverged)} of {variant.recorded}",
        )
        for variant in summary.variants
    )
    columns = (Column("Variant", False), *(Column(HEADINGS[name], wraps=True) for name in shown), Column("Diverged"))
    caption = f"What else was measured: mean ± standard deviation over {summary.unit}s, finished cells only."
    return Table("measured", caption, columns, rows, reference_rows(summary))


def measured(summary: StudySummary) -> dict[str, dict[str, Estimate]]:
    """By variant, every further measure that was recorded."""
    return {
        variant.name: {
            name: found
            for name in HEADINGS
            if (found := estimate(_by_repetition(summary.records_of(variant.name), name, summary.unit))) is not None
        }
        for variant in summary.variants
    }


def measured_definitions(summary: StudySummary) -> list[tuple[str, str]]:
    """How each measure in the table is defined."""
    found = measured(summary)
    shown = [name for name in HEADINGS if any(name in by_measure for by_measure in found.values())]
    return [(HEADINGS[name].partition(",")[0].lower(), DERIVED[name][1]) for name in shown]


def _by_repetition(records: Sequence[Record], name: str, unit: Unit) -> list[float]:
    values: dict[str, list[float]] = defaultdict(list)
    for record in records:
        value = measure(record, name)
        if value is not None:
            values[label(record, unit)].append(value)
    return [fmean(found) for found in values.values()]


def _spread(name: str, found: Estimate | None) -> str:
    if found is None:
        return MISSING
    scale = Scale.of(name)
    digits = 1 if scale.factor == 100.0 else scale.digits
    spread = "" if found.std is None else f" ± {decimal(found.std * scale.factor, digits)}"
    return decimal(found.mean * scale.factor, digits) + spread

"""Where the report's numbers come from: the MLflow runs behind each variant, comparison and claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lrlora.studies.report.cell_tables import run_id
from lrlora.studies.report.summary import StudySummary

Traces = Sequence[tuple[str, ...]]
"""For each row of a table the runs that it comes from."""


@dataclass(frozen=True)
class StudyTraces:
    """Run ids, in the order of the summary's variants, comparisons and verdicts."""

    by_variant: Traces
    by_comparison: Traces
    by_claim: Traces


def traces(summary: StudySummary) -> StudyTraces:
    """The runs of all cells of the variants that a number is about, those that diverged included."""

    def runs_of(names: Iterable[str]) -> tuple[str, ...]:
        found = (run_id(record) for name in dict.fromkeys(names) if name for record in summary.records_of(name))
        return tuple(run for run in found if run)

    return StudyTraces(
        by_variant=[runs_of([variant.name]) for variant in summary.variants],
        by_comparison=[runs_of([one.of, one.against]) for one in summary.comparisons],
        by_claim=[
            runs_of([*verdict.claim.weights, *(name for pair in verdict.compared for name in pair)])
            for verdict in summary.verdicts
        ],
    )

"""Tables of single cells: every one with its run, where a number comes from, and how those that diverged ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrlora.studies.report.formatting import MISSING, Scale, plural, significant
from lrlora.studies.report.presentation import Column, Table, status
from lrlora.studies.report.source import Record, finite, label, metric_value
from lrlora.studies.report.summary import StudySummary

NORMS_SHOWN = 5
"""How many of the last gradient norms before a divergence are printed."""


def cell_table(summary: StudySummary) -> Table:
    """Every cell, variant by variant, so that each number of the report can be traced to its run."""
    scale = Scale.of(summary.metric)
    several = several_places(summary.records)
    splits = len({record.get("judged_on") or "test" for record in summary.records}) > 1
    columns = (
        Column("Variant", False),
        Column("Task", False),
        *([Column("Backbone", False)] if "backbone" in several else []),
        Column("Seed"),
        Column(f"{summary.metric}{scale.unit.replace(' ', ', ')}"),
        *([Column("Judged on", False)] if splits else []),
        Column("Status", False, wraps=True),
        Column("MLflow run", False),
        Column("Cell", False),
    )
    rows: list[tuple[str, ...]] = []
    links, anchors = {}, {}
    for index, variant in enumerate(summary.variants):
        anchors[len(rows)] = f"runs-{index + 1}"
        for record in summary.records_of(variant.name):
            if (run := run_id(record)).isalnum():
                # Where the study's own store keeps what a run left; the page lies beside it, in ``report``.
                links[len(rows), len(columns) - 2] = f"../artifacts/{run}/artifacts/result.json"
            rows.append(
                (
                    variant.name,
                    label(record, "task"),
                    *([label(record, "backbone")] if "backbone" in several else []),
                    label(record, "seed"),
                    scale.value(metric_value(record, summary.metric)),
                    *([str(record.get("judged_on") or "test")] if splits else []),
                    status(record),
                    run or MISSING,
                    str(record.get("cell", MISSING)),
                )
            )
    caption = f"The {plural(len(rows), 'recorded cell')}."
    return Table("cells", caption, columns, tuple(rows), links=links, anchors=anchors)


def divergence_table(summary: StudySummary) -> Table | None:
    """Where the cells that diverged did so first, as far as that was recorded; None where none says so."""
    rows: list[tuple[str, ...]] = []
    several = several_places(summary.records)
    for record in summary.records:
        found = record.get("divergence")
        if record.get("status") != "diverged" or not isinstance(found, Mapping):
            continue
        rows.append(
            (
                str(record["variant"]),
                *(label(record, field) for field in several),
                label(record, "seed"),
                _text(found.get("step", record.get("diverged_at"))),
                _text(found.get("module")),
                _text(found.get("tensor")),
                _norms(found.get("grad_norms_before")),
            )
        )
    if not rows:
        return None
    columns = (
        Column("Variant", False),
        *(Column(field.capitalize(), False) for field in several),
        Column("Seed"),
        Column("Step"),
        Column("First in module", False, wraps=True),
        Column("Tensor", False),
        Column("Gradient norms before", False, wraps=True),
    )
    caption = "Where the cells that diverged first held a number that is not finite, and the gradient norms before it."
    return Table("divergence", caption, columns, tuple(rows))


def several_places(records: Sequence[Record]) -> list[str]:
    """Which of task and backbone the records have several of."""
    return [field for field in ("task", "backbone") if len({label(record, field) for record in records}) > 1]


def run_id(record: Record) -> str:
    """The MLflow run of a cell; empty where none is recorded."""
    return str(record.get("mlflow_run_id") or "")


def _norms(found: Any) -> str:
    if not isinstance(found, (list, tuple)) or not found:
        return MISSING
    # A norm that is not finite is the end of such a list, and says as much as a number.
    shown = [significant(value) if (value := finite(norm)) is not None else "not finite" for norm in found]
    return ("… " if len(shown) > NORMS_SHOWN else "") + ", ".join(shown[-NORMS_SHOWN:])


def _text(value: Any) -> str:
    return MISSING if value is None or not str(value).strip() else str(value)

"""Tables of single cells: every one with its run, and where those that diverged did so first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrlora.studies.report.formatting import MISSING, Scale, plural, significant
from lrlora.studies.report.table import Table, make_table, run_id
from lrlora.studies.stats.source import Record, finite, label, metric_value
from lrlora.studies.stats.summary import StudySummary

NORMS_SHOWN = 5
"""How many of the last gradient norms before a divergence are printed."""


def cell_table(summary: StudySummary, linked: bool = True) -> Table:
    """Returns every cell, variant by variant, so that each number of the report can be traced to its run.

    Args:
        summary: The study.
        linked: Whether the runs link to their records, which the study keeps beside the folder of the report.
    """
    scale = Scale.of(summary.metric)
    backbones = ["backbone"] if "backbone" in several_places(summary.records) else []
    splits = len({record.get("judged_on") or "test" for record in summary.records}) > 1
    rows: list[dict[str, str]] = []
    links, anchors = {}, {}
    for index, variant in enumerate(summary.variants):
        anchors[len(rows)] = f"runs-{index + 1}"
        for record in summary.records_of(variant.name):
            row = {
                "Variant": variant.name,
                **{field.capitalize(): label(record, field) for field in ("task", *backbones, "seed")},
                scale.heading(summary.metric): scale.value(metric_value(record, summary.metric)),
                **({"Evaluated on": str(record.get("judged_on") or "test")} if splits else {}),
                "Status": status(record),
                "MLflow run": run_id(record) or MISSING,
                "Cell": str(record.get("cell", MISSING)),
            }
            if linked and run_id(record).isalnum():
                links[len(rows), len(row) - 2] = f"../artifacts/{run_id(record)}/artifacts/result.json"
            rows.append(row)
    return make_table(
        "cells",
        f"The {plural(len(rows), 'recorded cell')}.",
        rows,
        words={"Task", "Backbone", "Evaluated on", "Status", "MLflow run", "Cell"},
        wraps={"Status"},
        links=links,
        anchors=anchors,
    )


def divergence_table(summary: StudySummary) -> Table | None:
    """Returns where the cells that diverged did so first, as far as that was recorded; None if none has it."""
    several = several_places(summary.records)
    rows = [
        {
            "Variant": str(record["variant"]),
            **{field.capitalize(): label(record, field) for field in (*several, "seed")},
            "Step": _text(found.get("step", record.get("diverged_at"))),
            "First in module": _text(found.get("module")),
            "Tensor": _text(found.get("tensor")),
            "Gradient norms before": _norms(found.get("grad_norms_before")),
        }
        for record in summary.records
        if record.get("status") == "diverged" and isinstance(found := record.get("divergence"), Mapping)
    ]
    caption = "The first value that was not finite in each cell that diverged, and the gradient norms before it."
    wraps = {"First in module", "Gradient norms before"}
    words = {"Task", "Backbone", "Tensor", *wraps}
    return make_table("divergence", caption, rows, words=words, wraps=wraps) if rows else None


def several_places(records: Sequence[Record]) -> list[str]:
    """Returns those of task and backbone that have several values in the records."""
    return [field for field in ("task", "backbone") if len({label(record, field) for record in records}) > 1]


def status(record: Record) -> str:
    """Returns a cell's outcome in words."""
    if record.get("status") == "diverged":
        step = record.get("diverged_at")
        return "diverged" if step is None else f"diverged at step {step}"
    if record.get("status") == "failed":
        return f"failed: {record.get('reason') or 'no reason recorded'}"
    return str(record.get("status"))


def _norms(found: Any) -> str:
    if not isinstance(found, (list, tuple)) or not found:
        return MISSING
    # A norm that is not finite is the end of such a list, and as informative as a number.
    shown = [significant(value) if (value := finite(norm)) is not None else "not finite" for norm in found]
    return ("… " if len(shown) > NORMS_SHOWN else "") + ", ".join(shown[-NORMS_SHOWN:])


def _text(value: Any) -> str:
    return MISSING if value is None or not str(value).strip() else str(value)

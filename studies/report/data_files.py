"""``results.csv`` and ``results.json``: one flat row per cell, and the whole summary, in natural units."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from lrlora.studies.report.design_facts import design_facts
from lrlora.studies.report.result_tables import place_differences
from lrlora.studies.report.sentences import caveats, headline, reproduce_command, resolution
from lrlora.studies.report.table import runs_by_claim, runs_by_comparison, runs_by_variant
from lrlora.studies.stats.layers import linear_layers, summarise_layers
from lrlora.studies.stats.source import Record, flatten
from lrlora.studies.stats.summary import StudySummary

CURVES = frozenset({"train_loss", "learning_rate", "grad_norm", "validation", "snapshots"})
"""Per-step series, which a flat row has no place for; they are in MLflow, under the row's run id."""


CELL_FIELDS = (
    *("cell", "variant", "axes", "method", "task", "backbone", "seed", "status", "judged_on", "diverged_at"),
    *("divergence", "reason", "chance", "metrics", "parameters", "step_seconds", "peak_memory_bytes"),
    *("duration_seconds", "mlflow_run_id"),
)
"""The fields of a record that the JSON file has for each cell."""


def cells_csv(summary: StudySummary) -> str:
    """Returns one row per cell. Nested fields have dotted names, layers are summarised, curves are left out."""
    rows = [_flat_row(record) for record in summary.records]
    # As objects, since a column of whole numbers with a gap would become one of floats.
    frame = pd.DataFrame(
        rows, columns=list(dict.fromkeys(name for row in rows for name in row)) or ["cell"], dtype=object
    )
    return frame.to_csv(index=False, lineterminator="\n")


def summary_json(summary: StudySummary) -> str:
    """Returns the summary per variant with its comparison, and the key facts of each cell, as strict JSON (no NaN)."""
    document = {
        "study": summary.name,
        "question": summary.question,
        "budget": summary.budget,
        "metric": {"name": summary.metric, "direction": "maximize" if summary.maximize else "minimize"},
        "reference": summary.reference,
        "repetition": summary.unit,
        "planned": summary.planned,
        "recorded": len(summary.records),
        "headline": headline(summary),
        "caveats": caveats(summary),
        "resolution": resolution(summary),
        "design": dict(design_facts(summary)),
        "tuned": summary.tuned,
        "paper": summary.paper,
        "variants": [
            asdict(variant)
            | {
                "straight_line": variant.is_linear,
                "straight_layers": asdict(linear)
                if variant.has_transfer and (linear := linear_layers(summary.records_of(variant.name)))
                else None,
                "runs": runs,
                "decided": variant.comparison.decided if variant.comparison else None,
                "verdict": variant.comparison.verdict(variant.published.difference, summary.metric)
                if variant.comparison and variant.published
                else None,
            }
            for variant, runs in zip(summary.variants, runs_by_variant(summary), strict=True)
        ],
        "comparisons": [
            asdict(one) | {"decided": one.decided, "runs": runs}
            for one, runs in zip(summary.comparisons, runs_by_comparison(summary), strict=True)
        ],
        "by_place": [asdict(one) for one in place_differences(summary)],
        "claims": [
            asdict(replace(one, claim=None)) | {"claim": one.claim.model_dump(), "runs": runs}  # type: ignore[arg-type]
            for one, runs in zip(summary.verdicts, runs_by_claim(summary), strict=True)
        ],
        "looks": [
            {
                "claim": path.claim.says,
                "state": path.state,
                "looks": [
                    {
                        "seeds": look.seeds,
                        "level": look.verdict.level,
                        "mean": look.verdict.found.mean if look.verdict.found else None,
                        "interval": look.interval,
                        "outcome": look.verdict.outcome,
                    }
                    for look in path.looks
                ],
            }
            for path in summary.paths
        ],
        "cells": [{key: record.get(key) for key in CELL_FIELDS} for record in summary.records],
        "environment": summary.environment,
        "command": reproduce_command(summary),
    }
    return json.dumps(_strict(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _flat_row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in record.items():
        if key == "layers":
            layers = summarise_layers([record])
            row |= (
                flatten({"layers": asdict(layers) | {"evaluations": "; ".join(layers.evaluations)}}) if layers else {}
            )
        elif isinstance(value, Mapping):
            row |= flatten(value, f"{key}.") if value else {}
        elif key not in CURVES:
            row[key] = value
    return {
        key: json.dumps(_strict(value)) if isinstance(value, (list, tuple, dict)) else value
        for key, value in row.items()
    }


def _strict(value: Any) -> Any:
    """Returns the value with only what JSON has: no NaN, no infinities, text for anything foreign."""
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_strict(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)

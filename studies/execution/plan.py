"""What a study will do, before it does it: its cells, its parameters, its tuning stage, and the time they take."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lrlora.studies.execution.cost import estimate_seconds
from lrlora.studies.execution.parameter_counts import count_adapter
from lrlora.studies.execution.resources import Execution, choose_resources
from lrlora.studies.execution.tuning import tuning_study
from lrlora.studies.record.outcomes import FINAL, outcome_of_record
from lrlora.studies.spec.cells import Cell, Variant, expand_cells, expand_comparisons, expand_variants
from lrlora.studies.spec.claims import claims_about
from lrlora.studies.spec.study import Study
from lrlora.studies.spec.tuning import describe_budget

Records = Mapping[str, Mapping[str, Any]]
"""What is recorded already, by the cell's id."""


def plan(
    study: Study,
    budget: str,
    records: Records | None = None,
    tuning_records: Records | None = None,
    execution: Execution | None = None,
) -> dict[str, Any]:
    """The plan of a resolved study, as plain data.

    Args:
        study: Resolved and checked.
        budget: What it was resolved for.
        records: Of its cells that have been run; None for a study without a folder, whose data and weights are then not
            read, so that its cells have no ids.
        tuning_records: Of the cells of its tuning stage that have been run.
        execution: How many workers there will be.
    """
    execution = execution or Execution()
    cells, variants = expand_cells(study, execution.threads_per_cell, execution.device), expand_variants(study)
    names = [variant.name for variant in variants]
    found: dict[str, Any] = {
        "study": study.name,
        "question": study.question,
        "budget": budget,
        "tasks": [task.label for task in study.tasks],
        "backbones": study.backbones,
        "seeds": study.seeds,
        "reference": study.reference,
        "variants": _parameters(study, variants),
        "comparisons": [{"of": of, "against": against} for of, against in expand_comparisons(study, names)],
        "claims": [claim.says for claim in claims_about(study.claims, names, study.reference)],
        "cells": [_cell(cell, records) for cell in cells],
        "estimated": _estimate(cells, records, study.seconds_per_example),
        "tuning": None,
    }
    resources = choose_resources(execution, study, found["estimated"]["cells"])
    found["resources"] = dataclasses.asdict(resources) | {"says": str(resources)}
    if study.tune is not None and set(names) - set(study.tuned):
        stage = expand_cells(tuning_study(study, budget), execution.threads_per_cell, execution.device)
        cost = _estimate(stage, tuning_records, study.seconds_per_example)
        found["tuning"] = {"budget": describe_budget(study), "planned": len(stage), "estimated": cost}
    return found


def _cell(cell: Cell, records: Records | None) -> dict[str, Any]:
    return {
        "id": None if records is None else cell.id,
        "variant": cell.variant.name,
        "task": cell.task["name"],
        "backbone": cell.backbone,
        "seed": cell.seed,
        "config": cell.variant.config,
        "training": cell.variant.training.resolved(),
        "done": _is_done(cell, records),
    }


def _is_done(cell: Cell, records: Records | None) -> bool:
    return records is not None and cell.id in records and outcome_of_record(records[cell.id]) in FINAL


def _estimate(
    cells: list[Cell], records: Records | None, seconds_per_example: float | Mapping[str, float] | None
) -> dict[str, Any]:
    missing = [cell for cell in cells if not _is_done(cell, records)]
    done = [(cell, records[cell.id]) for cell in cells if records and _is_done(cell, records)]
    return {
        "cells": len(missing),
        "steps": sum(cell.variant.training.steps for cell in missing),
        "seconds": estimate_seconds(missing, seconds_per_example, done),
    }


def _parameters(study: Study, variants: list[Variant]) -> list[dict[str, Any]]:
    """The variants with the number of their adapter's parameters, and by how much it differs from the reference's."""
    counts = {one.name: {name: count_adapter(one, name) for name in study.backbones} for one in variants}
    first = study.backbones[0]
    of_reference = counts[study.reference][first] if study.reference in counts else None
    return [
        {
            "name": one.name,
            "baseline": one.baseline,
            "parameters": counts[one.name],
            "relative_to_reference": counts[one.name][first] / of_reference - 1 if of_reference else None,
        }
        for one in variants
    ]

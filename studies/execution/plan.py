"""What a study will do, before it does it: its cells, its parameters, its tuning stage, and the time they take."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lrlora.studies.execution.cost import estimate_seconds
from lrlora.studies.execution.resources import Execution, choose_resources
from lrlora.studies.execution.tuning import tuning_study
from lrlora.studies.record.outcomes import FINAL, outcome_of_record
from lrlora.studies.spec.cells import Cell, Variant, expand_cells, expand_comparisons, expand_variants
from lrlora.studies.spec.study import Study
from lrlora.studies.spec.tuning import describe_budget

Records = Mapping[str, Mapping[str, Any]]
"""What is recorded already, by the cell's id."""


def plan(
    study: Study, budget: str, records: Records, tuning_records: Records, execution: Execution | None = None
) -> dict[str, Any]:
    """The plan of a resolved study, as plain data.

    Args:
        study: Resolved and checked.
        budget: What it was resolved for.
        records: Of its cells that have been run.
        tuning_records: Of the cells of its tuning stage that have been run.
        execution: How many workers there will be.
    """
    execution = execution or Execution()
    cells, variants = expand_cells(study, execution.threads_per_cell), expand_variants(study)
    names = [variant.name for variant in variants]
    found: dict[str, Any] = {
        "study": study.name,
        "question": study.question,
        "budget": budget,
        "tasks": [task.label for task in study.tasks],
        "backbones": study.backbones,
        "seeds": study.seeds,
        "reference": study.reference,
        "variants": [_parameters(variant, study, variants) for variant in variants],
        "comparisons": [{"of": of, "against": against} for of, against in expand_comparisons(study, names)],
        "claims": [claim.says for claim in study.claims if claim.is_about(names, study.reference)],
        "cells": [_cell(cell, records) for cell in cells],
        "estimated": _estimate(cells, records, study.seconds_per_example),
        "tuning": None,
    }
    resources = choose_resources(execution, study, found["estimated"]["cells"])
    found["resources"] = dataclasses.asdict(resources) | {"says": str(resources)}
    if study.tune is not None and set(names) - set(study.tuned):
        stage = expand_cells(tuning_study(study, budget), execution.threads_per_cell)
        cost = _estimate(stage, tuning_records, study.seconds_per_example)
        found["tuning"] = {"budget": describe_budget(study), "planned": len(stage), "estimated": cost}
    return found


def _cell(cell: Cell, records: Records) -> dict[str, Any]:
    return {
        "id": cell.id,
        "variant": cell.variant.name,
        "task": cell.task["name"],
        "backbone": cell.backbone,
        "seed": cell.seed,
        "config": cell.variant.config,
        "training": cell.variant.training.resolved(),
        "done": _is_done(cell, records),
    }


def _is_done(cell: Cell, records: Records) -> bool:
    return cell.id in records and outcome_of_record(records[cell.id]) in FINAL


def _estimate(
    cells: list[Cell], records: Records, seconds_per_example: float | Mapping[str, float] | None
) -> dict[str, Any]:
    missing = [cell for cell in cells if not _is_done(cell, records)]
    done = [(cell, records[cell.id]) for cell in cells if _is_done(cell, records)]
    return {
        "cells": len(missing),
        "steps": sum(cell.variant.training.steps for cell in missing),
        "seconds": estimate_seconds(missing, seconds_per_example, done),
    }


def _parameters(variant: Variant, study: Study, variants: list[Variant]) -> dict[str, Any]:
    """A variant with the number of its adapter's parameters, and by how much that differs from the reference's."""
    counts = {backbone: count_adapter(variant, backbone) for backbone in study.backbones}
    against = next((other for other in variants if other.name == study.reference), None)
    first = study.backbones[0]
    of_reference = None if against is None else count_adapter(against, first)
    return {
        "name": variant.name,
        "baseline": variant.baseline,
        "parameters": counts,
        "relative_to_reference": counts[first] / of_reference - 1 if of_reference else None,
    }


def count_adapter(variant: Variant, backbone: str) -> int:
    """How many scalars a variant trains in the backbone itself, its head left out; no weights are loaded."""
    from lrlora.analysis import count_parameters
    from lrlora.studies.methods import make_method
    from lrlora.studies.models.backbones import empty_model

    model = make_method(variant.config, variant.name).adapt(empty_model(backbone, classifier=True))
    return count_parameters(model).adapter

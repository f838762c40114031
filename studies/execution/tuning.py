"""The tuning stage of a study: the same grid, seeds and steps for every variant, evaluated on the validation split.

The stage is a study of its own, in the folder ``tuning`` of the study's, so that it is recorded, resumed and reported
like any other. What it chooses goes into the study as ``tuned``, from where its cells get their settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.axes import settings_of
from lrlora.studies.spec.cells import Variant, expand_variants, name_of_settings
from lrlora.studies.spec.study import Study, Tuning
from lrlora.studies.spec.tuning import best_of, check_tuning_seeds, tuning_variant, untuned

FOLDER = "tuning"
"""The folder of the tuning stage within a study's folder."""


def points(tuning: Tuning) -> list[dict[str, Any]]:
    """Returns the points of the grid: from settings to values."""
    return [dict(zip(tuning.grid, values, strict=True)) for values in product(*tuning.grid.values())]


def tuning_study(study: Study, budget: str) -> Study:
    """Returns the study that tries every point of the grid for every variant.

    Args:
        study: Resolved.
        budget: What it was resolved for; the tuning study has this one only.

    Raises:
        StudyError: A variant cannot take a setting of the grid, a setting is an axis of the study as well, or a seed
            is one of the study's.
    """
    tuning = study.tune
    assert tuning is not None
    check_tuning_seeds(study, tuning.seeds)
    for setting in tuning.grid:
        if any(setting in settings_of(axis) for axis in study.axes):
            raise StudyError(f"study {study.name}: tune.grid has {setting}, which is an axis of the study")
    variants = {
        _name(variant.name, point): _settings(variant, tuning) | point
        for variant in expand_variants(untuned(study))
        for point in points(tuning)
    }
    data = study.model_dump(include={"task", "backbone", "metric", "seconds_per_example"}) | {
        "name": f"{study.name}-tuning",
        "question": f"Which settings serve each variant of {study.name} best on the validation split?",
        "base": {},
        "variants": variants,
        "seeds": tuning.seeds,
        "budgets": {budget: {}},
        "tuning": "This is the tuning stage: every variant is tried at the same settings, on the validation split.",
    }
    stage = Study.from_dict(data, where=f"study {study.name}: tune")
    expand_variants(stage)
    return stage


def choose(study: Study, records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns for every variant the best point, chosen by :func:`lrlora.studies.spec.tuning.best_of`.

    A point at which a run diverged or failed is not chosen.

    Args:
        study: Resolved.
        records: Of its tuning study.

    Raises:
        StudyError: Every point of a variant has a run that diverged or failed.
    """
    assert study.tune is not None
    found: dict[str, dict[str, Any]] = {}
    for variant in expand_variants(untuned(study)):
        tried: dict[int, tuple[list[float], list[float]]] = {}
        for i, point in enumerate(points(study.tune)):
            name = _name(variant.name, point)
            metrics = [record["metrics"] for record in records if record["variant"] == name]
            values = [one.get(study.metric.name) for one in metrics]
            if values and None not in values:
                tried[i] = values, [one.get("loss") or 0.0 for one in metrics]
        best = best_of(tried, study.metric.direction)
        if best is None:
            raise StudyError(
                f"study {study.name}: every setting that was tried for {variant.name} in the tuning stage diverged or "
                "failed; give tune.grid other values"
            )
        found[variant.name] = points(study.tune)[best]
    return found


def _name(variant: str, point: Mapping[str, Any]) -> str:
    return f"{variant} at {name_of_settings(point)}"


def _settings(variant: Variant, tuning: Tuning) -> dict[str, Any]:
    if tuning.steps is None:
        return tuning_variant(variant, {})
    every = min(variant.training.eval_every, tuning.steps)
    return tuning_variant(variant, {"steps": tuning.steps, "eval_every": every})

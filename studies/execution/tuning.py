"""The tuning stage of a study: the same grid, seeds and steps for every variant, evaluated on the validation split.

The stage is a study of its own, in the folder ``tuning`` of the study's, so that it is recorded, resumed and reported
like any other. What it chooses goes into the study as ``tuned``, from where its cells get their settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from statistics import mean
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.axes import settings_of
from lrlora.studies.spec.cells import Variant, expand_variants, name_of_settings
from lrlora.studies.spec.study import Study, Tuning

FOLDER = "tuning"
"""Where in a study's folder its tuning stage is."""


def points(tuning: Tuning) -> list[dict[str, Any]]:
    """The points of the grid: from settings to values."""
    return [dict(zip(tuning.grid, values, strict=True)) for values in product(*tuning.grid.values())]


def tuning_study(study: Study, budget: str) -> Study:
    """The study that tries every point of the grid for every variant.

    Args:
        study: Resolved.
        budget: What it was resolved for; the tuning study has this one only.

    Raises:
        StudyError: A variant cannot take a setting of the grid, a setting is an axis of the study as well, or a seed
            is one of the study's.
    """
    tuning = study.tune
    assert tuning is not None
    shared = sorted(set(tuning.seeds) & set(study.seeds))
    if shared:
        raise StudyError(f"study {study.name}: tune.seeds has {shared[0]}, which is a seed of the study: choose others")
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
    """Returns for every variant the point with the best validation metric, averaged over seeds, tasks and backbones.

    Points that tie are told apart by their loss.

    A point at which any run diverged or failed is not chosen.

    Args:
        study: Resolved.
        records: Of its tuning study.

    Raises:
        StudyError: A variant has no point without a failure.
    """
    assert study.tune is not None
    found: dict[str, dict[str, Any]] = {}
    sign = 1 if study.metric.direction == "maximize" else -1
    for variant in expand_variants(untuned(study)):
        scores: dict[int, tuple[float, float]] = {}
        for i, point in enumerate(points(study.tune)):
            name = _name(variant.name, point)
            found_here = [record["metrics"] for record in records if record["variant"] == name]
            values = [metrics.get(study.metric.name) for metrics in found_here]
            if values and None not in values:
                # On a small split many points tie, and then the loss tells more.
                loss = mean(metrics.get("loss") or 0.0 for metrics in found_here)
                scores[i] = (sign * mean(values), -loss)
        if not scores:
            raise StudyError(
                f"study {study.name}: every setting that was tried for {variant.name} in the tuning stage diverged or "
                "failed; give tune.grid other values"
            )
        found[variant.name] = points(study.tune)[max(scores, key=lambda i: scores[i])]
    return found


def untuned(study: Study) -> Study:
    """The study before its tuning stage."""
    return study.model_copy(update={"tuned": {}})


def _name(variant: str, point: Mapping[str, Any]) -> str:
    return f"{variant} at {name_of_settings(point)}"


def _settings(variant: Variant, tuning: Tuning) -> dict[str, Any]:
    # 0 test examples: the split is not even looked at.
    training = variant.training.resolved() | {"test_examples": 0}
    if tuning.steps is not None:
        training |= {"steps": tuning.steps, "eval_every": min(training["eval_every"], tuning.steps)}
    # As declared, and not resolved: a default that depends on a setting of the grid follows it.
    return dict(variant.given) | {"training": training}

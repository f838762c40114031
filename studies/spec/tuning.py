"""The parts that the tuning stage of a study and ``lrlora tune`` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from statistics import mean
from typing import Any, TypeVar

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.cells import Variant
from lrlora.studies.spec.study import Study

K = TypeVar("K")


def untuned(study: Study) -> Study:
    """Returns the study before any tuning."""
    return study.model_copy(update={"tuned": {}})


def check_tuning_seeds(study: Study, seeds: Sequence[int]) -> None:
    """Raises ``StudyError`` if a seed of the tuning is one of the study's."""
    for seed in seeds:
        if seed in study.seeds:
            raise StudyError(f"study {study.name}: tune.seeds has {seed}, which is a seed of the study: choose others")


def tuning_variant(variant: Variant, training: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a variant as an entry of ``variants`` over an empty base, as it is trained while it is tuned.

    Args:
        variant: Untuned. Its configuration is taken as declared and not as resolved: a default that depends on a
            tuned setting follows it.
        training: Overrides the training of the variant.
    """
    # 0 test examples: the split is not read.
    return {**variant.given, "training": variant.training.resolved() | {"test_examples": 0} | dict(training)}


def best_of(tried: Mapping[K, tuple[Sequence[float], Sequence[float]]], direction: str) -> K | None:
    """Returns the key with the best mean value, or None if nothing was tried.

    On a small split many values tie. Ties are decided by the smaller mean loss, and then by the order.

    Args:
        tried: Values and losses of the runs.
        direction: ``"maximize"`` or ``"minimize"``.

    >>> best_of({"a": ([0.5, 0.7], [0.9, 0.9]), "b": ([0.6, 0.6], [0.8, 0.8])}, "maximize")
    'b'
    """
    sign = 1 if direction == "maximize" else -1
    return max(tried, key=lambda key: (sign * mean(tried[key][0]), -mean(tried[key][1])), default=None)


def describe_budget(study: Study) -> str:
    """Returns what every variant was given by the tuning stage, in a sentence; empty without one."""
    if study.tune is None:
        return ""
    grid = "; ".join(f"{name.removeprefix('training.')} in {values}" for name, values in study.tune.grid.items())
    points = prod(len(values) for values in study.tune.grid.values())
    runs = points * len(study.tune.seeds) * len(study.tasks) * len(study.backbones)
    steps = study.tune.steps or study.training.steps
    return (
        f"Every variant, baselines included, was tuned with {runs} run{'s' * (runs != 1)} of {steps} steps ({grid}; "
        f"seeds {study.tune.seeds}), by its validation metric; the test split was not used."
    )

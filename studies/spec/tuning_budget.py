"""The budget of a study's tuning stage, in words."""

from __future__ import annotations

from math import prod

from lrlora.studies.spec.study import Study


def describe_budget(study: Study) -> str:
    """What every variant was given by the tuning stage, in a sentence; empty without one."""
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

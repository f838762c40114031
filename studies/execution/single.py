"""One run of one adapter, declared in a file: the smallest study there is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from lrlora.studies.kinds import kind_class
from lrlora.studies.spec.overrides import apply_overrides, parse_overrides
from lrlora.studies.spec.plain_yaml import read_yaml_mapping
from lrlora.studies.spec.schema import Strict, validate
from lrlora.studies.spec.study import Metric, Study, TaskChoice, Training
from lrlora.studies.tasks import make_task

BUDGET = "run"
"""The one budget of such a study: what the file says."""


class SingleRun(Strict):
    """What a file for ``lrlora train`` holds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    task: TaskChoice = TaskChoice(name="sarcasm")
    backbone: str = "minilm"
    adapter: dict[str, Any] = Field(default_factory=lambda: {"method": "lrlora"})
    training: Training = Training()
    seed: int = Field(42, ge=0, lt=2**32)


def load_single(path: Path, overrides: Iterable[str] = ()) -> Study:
    """Read the declaration of one run as a study of one cell.

    Args:
        path: A YAML file; ``name`` is the file's own unless it says another.
        overrides: ``"a.b=c"`` lines.

    Raises:
        StudyError: It cannot be read, or says something that cannot be; one line.
    """
    data = {"name": path.stem} | read_yaml_mapping(path)
    nested = [f"training.{field}" for field in Training.model_fields]
    data = apply_overrides(data, parse_overrides(overrides), SingleRun.model_fields, nested)
    run = validate(SingleRun, data, str(path))
    measured = kind_class(make_task(run.task.name, run.task.options)).metrics
    return Study(
        name=run.name,
        question=f"One run of {run.adapter.get('method', 'an adapter')}.",
        task=run.task,
        backbone=run.backbone,
        base=run.adapter,
        metric=Metric() if "accuracy" in measured else Metric(name="loss", direction=measured["loss"]),
        training=run.training,
        seeds=[run.seed],
        budgets={BUDGET: {}},
    )

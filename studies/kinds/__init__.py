"""Kinds of tasks: how models are trained and evaluated on classes, text, questions, images and probes."""

from __future__ import annotations

from typing import cast

from lrlora.registry import Registry
from lrlora.studies.kinds.kind import Kind, PerExample, Rows
from lrlora.studies.tasks import Task

KINDS: Registry[Kind] = Registry(
    "kind of task",
    group="lrlora.kinds",
    builtins={
        "classification": "lrlora.studies.kinds.classification:Classification",
        "language-modelling": "lrlora.studies.kinds.language_modelling:LanguageModelling",
        "multiple-choice": "lrlora.studies.kinds.multiple_choice:MultipleChoice",
        "images": "lrlora.studies.kinds.images:ImageClassification",
        "matrix": "lrlora.studies.kinds.matrix:Matrix",
        "planted": "lrlora.studies.kinds.planted:PlantedRanks",
        "capacity": "lrlora.studies.kinds.capacity:Capacity",
    },
    base="lrlora.studies.kinds.kind:Kind",
)

__all__ = ["KINDS", "Kind", "PerExample", "Rows", "kind_class", "kind_of"]


def kind_class(task: Task) -> type[Kind]:
    """Returns the class of a task's kind.

    Raises:
        UnknownNameError: If the task is of no known kind.
    """
    return cast("type[Kind]", KINDS.get(task.kind))


def kind_of(task: Task, backbone: str) -> Kind:
    """Returns the kind of a task for a backbone. Reads the backbone's configuration and no weights.

    Raises:
        UnknownNameError: If the task is of no known kind.
        StudyError: If the backbone does not take the inputs of that kind; one line.
    """
    return kind_class(task).on(task, backbone)

"""Kinds of tasks: what a model needs to be trained and judged on classes, on text, on questions, on images."""

from __future__ import annotations

from typing import cast

from lrlora.registry import Registry
from lrlora.studies.kinds.kind import Kind, Rows
from lrlora.studies.tasks import Task

KINDS: Registry[Kind] = Registry(
    "kind of task",
    group="lrlora.kinds",
    builtins={
        "classification": "lrlora.studies.kinds.classification:Classification",
        "language-modelling": "lrlora.studies.kinds.language_modelling:LanguageModelling",
        "multiple-choice": "lrlora.studies.kinds.multiple_choice:MultipleChoice",
        "images": "lrlora.studies.kinds.images:ImageClassification",
    },
    base="lrlora.studies.kinds.kind:Kind",
)

__all__ = ["KINDS", "Kind", "Rows", "kind_class", "kind_of"]


def kind_class(task: Task) -> type[Kind]:
    """What is known of a task's kind before there is a backbone.

    Raises:
        UnknownNameError: The task is of no known kind.
    """
    return cast("type[Kind]", KINDS.get(task.kind))


def kind_of(task: Task, backbone: str) -> Kind:
    """How a backbone is trained and judged on a task. Reads the backbone's configuration and no weights.

    Raises:
        UnknownNameError: The task is of no known kind.
        StudyError: The backbone is not one for tasks of that kind; one line.
    """
    return kind_class(task).on(task, backbone)

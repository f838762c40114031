"""Tasks: what an adapter is trained for and judged on. One file, one task."""

from __future__ import annotations

from lrlora.registry import Registry
from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.task import SPLITS, Examples, Task, draw

TASKS: Registry[Task] = Registry(
    "task",
    group="lrlora.tasks",
    builtins={
        "sarcasm": "lrlora.studies.tasks.sarcasm:Sarcasm",
        "files": "lrlora.studies.tasks.files:Files",
    },
    base="lrlora.studies.tasks.task:Task",
)

__all__ = ["SPLITS", "TASKS", "Examples", "Task", "draw", "make_task"]


def make_task(name: str, options: dict[str, object] | None = None) -> Task:
    """The task called ``name``; nothing is loaded or downloaded yet.

    Raises:
        UnknownNameError: No such task.
        StudyError: The options do not fit it.
    """
    try:
        return TASKS.create(name, **(options or {}))
    except TypeError as error:
        raise StudyError(str(error)) from None

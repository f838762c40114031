"""Tasks: what an adapter is trained for and judged on. One file, one task."""

from __future__ import annotations

import inspect

from lrlora.registry import Registry, parse_spec
from lrlora.studies.errors import StudyError, unknown_key
from lrlora.studies.tasks.task import (
    SPLITS,
    Columns,
    Documents,
    Examples,
    Images,
    Inputs,
    Points,
    Questions,
    Task,
    Vectors,
    draw,
)

TASKS: Registry[Task] = Registry(
    "task",
    group="lrlora.tasks",
    builtins={
        "sarcasm": "lrlora.studies.tasks.sarcasm:Sarcasm",
        "heart-disease": "lrlora.studies.tasks.heart_disease:HeartDisease",
        "crepe": "lrlora.studies.tasks.crepe:Crepe",
        "corr2cause": "lrlora.studies.tasks.corr2cause:Corr2Cause",
        "pararule": "lrlora.studies.tasks.pararule:Pararule",
        "quartz": "lrlora.studies.tasks.quartz:Quartz",
        "reference": "lrlora.studies.tasks.reference:Reference",
        "digits": "lrlora.studies.tasks.digits:Digits",
        "matrix-flat": "lrlora.studies.tasks.matrices:Flat",
        "matrix-power-law": "lrlora.studies.tasks.matrices:PowerLaw",
        "matrix-low-rank": "lrlora.studies.tasks.matrices:LowRank",
        "matrix-block-diagonal": "lrlora.studies.tasks.matrices:BlockDiagonal",
        "matrix-sparse": "lrlora.studies.tasks.matrices:Sparse",
        "matrix-high-frequency": "lrlora.studies.tasks.matrices:HighFrequency",
        "matrix-identity": "lrlora.studies.tasks.matrices:Identity",
        "matrix-minilm": "lrlora.studies.tasks.matrix_minilm:MiniLM",
        "planted": "lrlora.studies.tasks.planted:Planted",
        "random-labels": "lrlora.studies.tasks.random_labels:RandomLabels",
        "files": "lrlora.studies.tasks.files:Files",
        "question-files": "lrlora.studies.tasks.question_files:QuestionFiles",
        "text-files": "lrlora.studies.tasks.text_files:TextFiles",
    },
    base="lrlora.studies.tasks.task:Task",
)

__all__ = [
    "SPLITS",
    "TASKS",
    "Columns",
    "Documents",
    "Examples",
    "Images",
    "Inputs",
    "Points",
    "Questions",
    "Task",
    "Vectors",
    "draw",
    "make_task",
]


def make_task(name: str, options: dict[str, object] | None = None) -> Task:
    """Returns the task called ``name``. Nothing is loaded or downloaded yet.

    Raises:
        UnknownNameError: No such task.
        StudyError: The options do not fit it.
    """
    options = options or {}
    try:
        known = inspect.signature(TASKS.get(parse_spec(name)[0])).parameters
        if not any(one.kind is one.VAR_KEYWORD for one in known.values()):
            for option in options:
                if option not in known:
                    raise unknown_key(option, known, f"task {name}")
        return TASKS.create(name, **options)
    except TypeError as error:
        raise StudyError(str(error)) from None

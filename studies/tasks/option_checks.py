"""Checks of a task's options that are numbers."""

from __future__ import annotations

from lrlora.studies.errors import StudyError


def whole(task: str, option: str, value: object, least: int, most: int | None = None) -> int:
    """Returns a whole number.

    Raises:
        StudyError: If it is none, or beyond its bounds; one line.
    """
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        raise StudyError(f"task {task}: {option} is a whole number {bounds}, not {value!r}")
    return value


def positive(task: str, option: str, value: object, most: float | None = None) -> float:
    """Returns a number above 0.

    Raises:
        StudyError: If it is none, or above ``most``; one line.
    """
    bounds = "a number above 0" if most is None else f"a number above 0 and at most {most:g}"
    right = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
    if not right or (most is not None and float(value) > most):  # type: ignore[arg-type]
        raise StudyError(f"task {task}: {option} is {bounds}, not {value!r}")
    return float(value)  # type: ignore[arg-type]

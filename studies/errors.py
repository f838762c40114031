"""The error that a user can act on: one line, no traceback, exit status 2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from lrlora.registry import UnknownNameError, closest


class StudyError(ValueError):
    """What was asked for cannot be done as it was written. The message is one line: what, where, what instead."""


def unknown_key(key: str, known: Iterable[str], where: str) -> StudyError:
    """The error for a key that nothing reads, with the nearest one that something does.

    >>> str(unknown_key("step", ["steps", "seeds"], "my.yaml: training"))
    "my.yaml: training: unknown key 'step'; did you mean 'steps'? (known: seeds, steps)"
    """
    known = sorted(map(str, known))
    nearest = closest(str(key), known)
    hint = f"; did you mean {nearest!r}?" if nearest is not None else ""
    return StudyError(f"{where}: unknown key {key!r}{hint} (known: {', '.join(known) or 'none'})")


@contextlib.contextmanager
def said_in_one_line() -> Iterator[None]:
    """What a name or its options are refused with, as the error that a user can act on.

    An unknown name is one already, with the nearest that there is.

    >>> with said_in_one_line():
    ...     int("four")
    Traceback (most recent call last):
    lrlora.studies.errors.StudyError: invalid literal for int() with base 10: 'four'
    """
    try:
        yield
    except (UnknownNameError, StudyError):
        raise
    except (TypeError, ValueError) as error:
        raise StudyError(str(error)) from None


@contextlib.contextmanager
def library_errors(where: str) -> Iterator[None]:
    """Turns an error of PyTorch or PEFT into one line: ``where``, and the first line of its message.

    >>> with library_errors("study x: lora"):
    ...     raise RuntimeError("Overflow\\nframe #0: c10::Error")
    Traceback (most recent call last):
    lrlora.studies.errors.StudyError: study x: lora: Overflow
    """
    try:
        yield
    except (UnknownNameError, StudyError):
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise StudyError(f"{where}: {lines[0] if lines else type(error).__name__}") from None

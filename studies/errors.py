"""The error that a user can act on: one line, no traceback, exit status 2."""

from __future__ import annotations

from collections.abc import Iterable

from lrlora.registry import closest


class StudyError(ValueError):
    """What was asked for cannot be done as it was written. The message is one line: what, where, what instead."""


def unknown_key(key: str, known: Iterable[str], where: str) -> StudyError:
    """The error for a key that nothing reads, with the nearest one that something does.

    >>> str(unknown_key("step", ["steps", "seeds"], "my.yaml: training"))
    "my.yaml: training: unknown key 'step'; did you mean 'steps'? (known: seeds, steps)"
    """
    known = sorted(known)
    nearest = closest(key, known)
    hint = f"; did you mean {nearest!r}?" if nearest is not None else ""
    return StudyError(f"{where}: unknown key {key!r}{hint} (known: {', '.join(known) or 'none'})")

"""What a registry says when a name cannot be served. Each message is one line that a user can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that ``name`` most probably meant, or None where nothing is near.

    >>> closest("gausian", ["sinc", "gaussian"])
    'gaussian'
    >>> closest("zzz", ["sinc", "gaussian"]) is None
    True
    """
    by_lower_case = {candidate.lower(): candidate for candidate in candidates}
    matches = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.6)
    return by_lower_case[matches[0]] if matches else None


def on_one_line(cause: BaseException) -> str:
    """Type and message of ``cause``; some libraries explain themselves over many lines."""
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"


def _restore(kind: type[Exception], message: str) -> Exception:
    return kind.__new__(kind, message)


class _PicklableError(Exception):
    """An error that keeps its type and message across processes.

    Unpickling an exception calls its ``__init__`` with ``args``, which hold the message alone.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), str(self)), self.__dict__


class UnknownNameError(_PicklableError, ValueError):
    """No entry has this name.

    A ``ValueError`` and not a ``KeyError``: a ``KeyError`` prints its message in quotes, and a caller who
    catches ``KeyError`` around a dictionary would swallow it.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], how_to_add: str = "") -> None:
        known = sorted(known)
        nearest = closest(name, known)
        message = f"unknown {kind} {name!r}"
        if nearest is not None:
            message += f"; did you mean {nearest!r}?"
        message += f" (known: {', '.join(known) or 'none'})"
        if how_to_add:
            message += f"; {how_to_add}"
        super().__init__(message)
        self.kind, self.name, self.known, self.nearest = kind, name, known, nearest


class DuplicateNameError(_PicklableError, ValueError):
    """Two origins claim one name. Both are named, since silently taking the first hides a broken install."""

    def __init__(self, kind: str, name: str, first: str, second: str) -> None:
        super().__init__(f"{kind} {name!r} is defined twice: by {first} and by {second}; rename or remove one")


class BrokenPluginError(_PicklableError, ImportError):
    """A listed entry cannot be imported. Raised only when that entry is asked for; the cause is chained."""

    def __init__(self, kind: str, name: str, origin: str, cause: BaseException) -> None:
        super().__init__(f"{kind} {name!r} from {origin} does not import: {on_one_line(cause)}")

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


class UnknownNameError(ValueError):
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

    def __reduce__(self) -> tuple[object, ...]:
        # BaseException would re-create the error from its message alone, which __init__ does not take.
        return (ValueError, (str(self),))


class DuplicateNameError(ValueError):
    """Two origins claim one name. Both are named, since silently taking the first hides a broken install."""

    def __init__(self, kind: str, name: str, first: str, second: str) -> None:
        super().__init__(f"{kind} {name!r} is defined twice: by {first} and by {second}; rename or remove one")

    def __reduce__(self) -> tuple[object, ...]:
        return (ValueError, (str(self),))


class BrokenPluginError(ImportError):
    """A listed entry cannot be imported. Raised only when that entry is asked for; the cause is chained."""

    def __init__(self, kind: str, name: str, origin: str, cause: BaseException) -> None:
        super().__init__(
            f"{kind} {name!r} from {origin} does not import: {type(cause).__name__}: {cause}"
        )

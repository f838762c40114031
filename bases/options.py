"""Options that are numbers: checked in one form of words, and turned into plain Python numbers.

A sweep passes scalars of NumPy and torch as often as Python's own numbers; JSON, and so a saved adapter, holds only
the latter.
"""

from __future__ import annotations

import math
from typing import Any


def plain_numbers(value: Any) -> Any:
    """``value`` with every array, tensor or scalar of NumPy or torch in it, at any depth, as plain Python numbers.

    >>> import torch
    >>> plain_numbers({"r": torch.tensor(8), "layers": [torch.tensor(0), 1]})
    {'r': 8, 'layers': [0, 1]}
    """
    if isinstance(value, dict):
        return {plain_numbers(key): plain_numbers(item) for key, item in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(plain_numbers(item) for item in value)
    tolist = None if isinstance(value, type) else getattr(value, "tolist", None)
    return tolist() if callable(tolist) else value


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
) -> Any:
    """``value`` as a plain, finite Python number within bounds.

    Args:
        name: What the message calls it.
        value: A number of any library, but no truth value.
        above: It must be greater than this.
        least: It must be at least this.
        below: It must be less than this.

    Raises:
        ValueError: It is not such a number.
    """
    given = plain_numbers(value)
    bounds = [f"{sign} {bound}" for sign, bound in ((">", above), (">=", least), ("<", below)) if bound is not None]
    kind = [] if _is_finite(given) else ["a finite number"]
    within = (
        not kind
        and (above is None or given > above)
        and (least is None or given >= least)
        and (below is None or given < below)
    )
    if not within:
        raise ValueError(f"{name} must be {' '.join([*kind, ' and '.join(bounds)]).strip()}, got {given!r}")
    return given


def integer(name: str, value: Any, *, least: int) -> int:
    """``value`` as a plain Python integer; a float without a fraction, as a table of floats holds it, is one.

    Args:
        name: What the message calls it.
        value: A number of any library, but no truth value.
        least: It must be at least this.

    Raises:
        ValueError: It is not such a number.
    """
    given = plain_numbers(value)
    if not _is_finite(given) or given != int(given):
        raise ValueError(f"{name} must be an integer >= {least}, got {given!r}")
    return int(number(name, int(given), least=least))


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

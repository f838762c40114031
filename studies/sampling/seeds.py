"""The seeds of a study that goes on until its claims are decided."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import count, islice

FIRST_ADDED = 1001
"""The first seed that is added: all studies add the same ones, so that they share the runs of their references."""


def seed_order(declared: Sequence[int], most: int, avoid: Collection[int] = ()) -> list[int]:
    """Returns the declared seeds and those that may be added, in this order: 1001, 1002, … that are not declared.

    Args:
        declared: Of the study.
        most: How many there are together, if no more are declared.
        avoid: Seeds that are not added, such as those of the tuning stage.

    >>> seed_order([42, 123, 1002], 5)
    [42, 123, 1002, 1001, 1003]
    """
    taken = {*declared, *avoid}
    added = (seed for seed in count(FIRST_ADDED) if seed not in taken)
    return [*declared, *islice(added, max(0, most - len(declared)))]

"""Low-rank pairs: the A and B of one adapted weight, the degenerate ones among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

Draw = st.DrawFn


@dataclass(frozen=True)
class LowRankPair:
    """A and B of one weight.

    Attributes:
        A: ``(r, in)``.
        B: ``(out, r)``.
    """

    A: Tensor
    B: Tensor

    @property
    def product(self) -> Tensor:
        """BA, ``(out, in)``."""
        return self.B @ self.A


DEGENERATE = ("any", "A is zero", "B is zero", "rows are equal", "rank is deficient")
"""Kinds of pairs: ``"any"`` asks for nothing; of a pair with equal rows, every row of BA is the first."""


@st.composite
def low_rank_pairs(
    draw: Draw,
    *,
    max_rank: int = 3,
    max_size: int = 5,
    size: tuple[float, float] = (0.0, 3.0),
    dtypes: Sequence[torch.dtype] = (torch.float64,),
    kinds: Sequence[str] = DEGENERATE,
) -> LowRankPair:
    """Pairs (A, B) with BA of a given size.

    Args:
        draw: Supplied by hypothesis.
        max_rank: Largest r.
        max_size: Largest number of rows and of columns of BA.
        size: Least and largest magnitude of the largest entry of BA. A least one of more than 0 leaves out the pairs
            with a factor that is zero.
        dtypes: To choose from.
        kinds: Of :data:`DEGENERATE`, to choose from.

    Returns:
        A strategy of pairs. Shrinks to ``A=tensor([[0.]])`` and ``B=tensor([[0.]])``.
    """
    least, most = size
    if not 0 <= least <= most:
        raise ValueError(f"size is the least and the largest magnitude, not {size!r}")
    if unknown := set(kinds) - set(DEGENERATE):
        raise ValueError(f"unknown kind of pair {sorted(unknown)[0]!r} (known: {', '.join(DEGENERATE)})")
    r = draw(st.integers(1, max_rank))
    inside, out = draw(st.integers(1, max_size)), draw(st.integers(1, max_size))
    kind = draw(st.sampled_from([kind for kind in kinds if not (least > 0 and kind.endswith("zero"))]))
    # Bounded factor by factor, and not scaled afterwards, so that the numbers stay the round ones that were drawn.
    # One component of the rank after the other, so that a counter-example can shrink by leaving one out.
    components = [(draw(_numbers(inside, 1.0)), draw(_numbers(out, most / r))) for _ in range(r)]
    A = [row for row, _ in components]
    B = [list(row) for row in zip(*(column for _, column in components), strict=True)]
    if kind == "A is zero":
        A = [[0.0] * inside for _ in range(r)]
    elif kind == "B is zero":
        B = [[0.0] * r for _ in range(out)]
    elif kind == "rows are equal":
        B = [B[0]] * out
    elif kind == "rank is deficient":
        A = [*A[:-1], A[0]]
    dtype = draw(st.sampled_from(list(dtypes)))
    if float((torch.tensor(B, dtype=torch.float64) @ torch.tensor(A, dtype=torch.float64)).abs().max()) < least:
        # One entry of the least size, by construction: a first column and a first row that meet in it alone.
        for row in A:
            row[0] = 1.0
        first = [least, *([0.0] * (r - 1))]
        B = [first] * out if kind == "rows are equal" else [first, *B[1:]]
    made: LowRankPair = draw(st.builds(LowRankPair, A=tensors(A, dtype), B=tensors(B, dtype)))
    return made


def tensors(values: Any, dtype: torch.dtype) -> st.SearchStrategy[Tensor]:
    """A known tensor, which hypothesis knows as the call that makes it."""
    if dtype == torch.float32:
        return st.builds(torch.tensor, st.just(values))
    return st.builds(torch.tensor, st.just(values), dtype=st.just(dtype))


def round_numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers from low to high of at most three digits, whole ones first.

    A tensor of them is printed with four digits, and so is the same one when what was printed is pasted.
    """
    largest = max(abs(low), abs(high))
    if largest == 0 or low == high:
        return st.just(low)
    per_one = 10 ** max(0, 2 - math.floor(math.log10(largest)))  # steps of a hundredth of the leading digit
    least, most = math.ceil(low * per_one), math.floor(high * per_one)
    start = per_one if least > 0 and least <= per_one <= most else max(0, least)  # 1, where 0 is not allowed
    fine = st.integers(least - start, most - start).map(lambda steps: (steps + start) / per_one)
    whole_least, whole_most = math.ceil(low), math.floor(high)
    if whole_least > whole_most:
        return fine
    first = max(1, whole_least) if low > 0 else 0
    return st.integers(whole_least - first, whole_most - first).map(lambda steps: float(steps + first)) | fine


def _numbers(count: int, bound: float) -> st.SearchStrategy[list[float]]:
    return st.lists(round_numbers(-bound, bound), min_size=count, max_size=count)

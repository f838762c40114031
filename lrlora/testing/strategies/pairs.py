"""Low-rank pairs: the A and B of one adapted weight, the degenerate ones among them."""

from __future__ import annotations

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
    A = draw(_matrix(r, inside, 1.0))
    B = draw(_matrix(out, r, most / r))
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
    """A known tensor, which hypothesis prints as the call that makes it, in full precision."""
    if dtype == torch.float32:
        return st.builds(torch.tensor, st.just(values))
    return st.builds(torch.tensor, st.just(values), dtype=st.just(dtype))


def round_numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers from low to high that are short to write, simple ones first."""
    return st.floats(low, high, width=16, allow_subnormal=False) if high > low else st.just(low)


def _matrix(rows: int, columns: int, bound: float) -> st.SearchStrategy[list[list[float]]]:
    whole = float(torch.tensor(bound).to(torch.float16))  # the ends have to be numbers of the width
    largest = whole if whole <= bound else whole / 2
    entry = round_numbers(-largest, largest)
    return st.lists(st.lists(entry, min_size=columns, max_size=columns), min_size=rows, max_size=rows)

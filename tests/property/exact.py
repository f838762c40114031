"""Ranks of the very numbers in a matrix, and the product of rank two that turns a kernel into a matrix."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor


def exact_rank(matrix: Tensor) -> int:
    """The rank without rounding and without a threshold: every finite float is a fraction."""
    return rational_rank([[Fraction(entry) for entry in row] for row in matrix.tolist()])


def rational_rank(rows: list[list[Fraction]]) -> int:
    """The rank of a matrix of fractions, by elimination; the argument is left as it was."""
    left = [row for row in rows if any(row)]
    rank = 0
    while left:
        rank += 1
        pivot = left.pop()
        at = next(column for column, entry in enumerate(pivot) if entry)
        factors = [row[at] / pivot[at] for row in left]
        pairs = zip(left, factors, strict=True)
        reduced = [[entry - f * other for entry, other in zip(row, pivot, strict=True)] for row, f in pairs]
        left = [row for row in reduced if any(row)]
    return rank


def difference_factors(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """B ``(m, 2)`` and A ``(2, n)`` with (BA)_ij = x_i − y_j."""
    return torch.stack([x, torch.ones_like(x)], dim=1), torch.stack([torch.ones_like(y), -y])

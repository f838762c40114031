"""The numbers that the laws compare with: ranks by counting monomials, ranks without rounding, bounds on a change."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from torch import Tensor


def monomial_rank_bound(r: int, powers: Iterable[int]) -> int:
    """The highest rank of φ(BA) where φ has these powers of z and no others, and the one of almost every B and A.

    (BA)^{∘k} is a sum over the monomials of degree k in r variables, of which there are C(r + k − 1, k); one product of
    a column and a row each. docs/laws.md, law 2.

    >>> monomial_rank_bound(4, [1]), monomial_rank_bound(4, [0]), monomial_rank_bound(4, [1, 3])
    (4, 1, 24)

    Args:
        r: The rank of BA, at least 1.
        powers: The exponents k ≥ 0 of the nonzero terms; repetitions do not count.

    Raises:
        ValueError: r or a power is too small.
    """
    distinct = set(powers)
    if r < 1 or any(k < 0 for k in distinct):
        raise ValueError(f"r is at least 1 and powers are at least 0, not r = {r} and {sorted(distinct)}")
    return sum(math.comb(r + k - 1, k) for k in distinct)


def degree_rank_bound(r: int, degree: int, *, centered: bool = False) -> int:
    """C(r + d, d), one less where φ(0) is subtracted: the highest rank of φ(BA) for a polynomial φ of degree d.

    >>> degree_rank_bound(2, 3), degree_rank_bound(2, 3, centered=True), degree_rank_bound(8, 2)
    (10, 9, 45)

    Raises:
        ValueError: r is below 1 or the degree below 0.
    """
    if degree < 0:
        raise ValueError(f"a degree is at least 0, not {degree}")
    return monomial_rank_bound(r, range(1 if centered else 0, degree + 1))


def lowest_degree_for_rank(r: int, rank: int, *, centered: bool = False) -> int:
    """The lowest degree at which a polynomial φ of a BA of rank r may reach a rank.

    >>> lowest_degree_for_rank(1, 768), lowest_degree_for_rank(2, 768), lowest_degree_for_rank(8, 768)
    (767, 38, 5)

    Raises:
        ValueError: r is below 1.
    """
    degree = 0
    while degree_rank_bound(r, degree, centered=centered) < rank:
        degree += 1
    return degree


def exact_rank(matrix: Tensor) -> int:
    """The rank of the very numbers in a matrix, without rounding and without a threshold.

    Every finite float is a fraction, so elimination in fractions is exact. It takes Python's time: milliseconds for
    20 rows, seconds for 60. On numbers that were rounded before, such as a φ(BA) that is no exact float, it
    finds the full rank that rounding errors make; laws use it where every entry is exact.

    >>> import torch
    >>> x = torch.arange(6.0)
    >>> exact_rank(torch.outer(x, x)), exact_rank((x[:, None] - x) ** 3)
    (1, 4)

    Raises:
        ValueError: An entry is not finite.
    """
    if not bool(matrix.isfinite().all()):
        raise ValueError("a matrix with entries that are not finite has no rank")
    return rational_rank([[Fraction(entry) for entry in row] for row in matrix.tolist()])


def rational_rank(rows: list[list[Fraction]]) -> int:
    """The rank of a matrix of fractions, by elimination; the argument is left as it was."""
    left = [row for row in rows if any(row)]
    rank = 0
    while left:
        rank += 1
        pivot = left.pop()
        at = next(column for column, entry in enumerate(pivot) if entry)
        reduced = []
        for row in left:
            if row[at]:
                factor = row[at] / pivot[at]
                row = [entry - factor * other for entry, other in zip(row, pivot, strict=True)]
            if any(row):
                reduced.append(row)
        left = reduced
    return rank


def stable_rank_change_bound(stable_rank: float, relative_change: float) -> float:
    """How far the square root of the stable rank of M can move when M is moved by E: δ (1 + √s) / (1 − δ).

    s is the stable rank of M and δ = ‖E‖_F / ‖M‖_2. It is the quotient rule with ‖M‖_F and ‖M‖_2 each moved by
    ‖E‖_F at most; docs/laws.md, law 5.

    >>> round(stable_rank_change_bound(4.0, 0.01), 4)
    0.0303

    Returns:
        The bound on |√s' − √s|; infinite for δ ≥ 1, where M + E may be zero.
    """
    if relative_change >= 1:
        return math.inf
    return relative_change * (1 + math.sqrt(stable_rank)) / (1 - relative_change)

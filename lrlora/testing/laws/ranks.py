"""Ranks by counting monomials, ranks without rounding, and the rank that is left to a precision.

The bridge from a function to a rank is Eckart and Young's theorem: a polynomial of degree d makes of BA a matrix of
rank C(r + d, d) at most, and the singular values of φ(BA) past that are at most the distance to that matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

import torch
from numpy.polynomial import chebyshev
from torch import Tensor

HIGHEST_ORDERS = 1024
"""Past as many orders a function counts as one that polynomials do not follow."""


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


def chebyshev_coefficients(function: Callable[[Tensor], Tensor], bound: float, orders: int) -> Tensor:
    """c_k of T_k(z / bound) in the polynomial through a function at Chebyshev nodes of [−bound, bound], ``(orders,)``.

    Args:
        function: Elementwise, of a float64 tensor.
        bound: Half-width of the range, in units of z.
        orders: One more than the degree.
    """
    with torch.no_grad():
        return torch.tensor(
            chebyshev.chebinterpolate(lambda t: function(bound * torch.tensor(t)).double().numpy(), orders - 1)
        )


def tail_sums(coefficients: Tensor) -> Tensor:
    """Σ_{k > d} |c_k| for d = 0, 1, …: a bound on what the terms past d add anywhere on the range."""
    sizes = coefficients.abs()
    return sizes.flip(0).cumsum(0).flip(0) - sizes


@dataclass(frozen=True)
class RankPrediction:
    """The rank that φ(BA) has to a precision, for every B and A of rank r whose entries keep to a range.

    Attributes:
        degree: Of the lowest polynomial that follows φ on the range to eps · size.
        rank: C(degree + r, degree), less one where φ(0) = 0.
        size: max |φ| on the range.
        eps: Relative to ``size``.
    """

    degree: int
    rank: int
    size: float
    eps: float

    def threshold(self, m: int, n: int) -> float:
        """What bounds the singular values of an m × n update past ``rank``: eps · size · √(mn)."""
        return self.eps * self.size * math.sqrt(m * n)


def rank_at_precision(function: Callable[[Tensor], Tensor], r: int, bound: float, eps: float) -> RankPrediction:
    """Predict the rank of φ(BA) to a precision from the tail of φ's Chebyshev series on the range of the entries.

    The degree d is the lowest with Σ_{k > d} |c_k| ≤ eps · max|φ|. Then every entry of φ(BA) is within eps · max|φ| of
    a matrix of rank C(r + d, d), so no more singular values than that are above :meth:`RankPrediction.threshold`.
    Where φ(0) = 0 the polynomial's own constant is subtracted too, the error may double, and eps is halved
    to pay for it.

        >>> rank_at_precision(torch.sin, r=4, bound=0.01, eps=1e-3).rank  # LoRA-sized: a straight line
        4
        >>> rank_at_precision(torch.sin, r=4, bound=3.0, eps=1e-3).rank
        329

    Args:
        function: φ, elementwise, of a float64 tensor; a ``TransferFunction`` in float64 is one.
        r: The rank of BA.
        bound: max |s_in · BA|.
        eps: Relative to the largest |φ| on the range; between 1e-10 and 1.

    Raises:
        ValueError: A number is outside its range, φ is zero on the range, or no polynomial of a degree below 512
            follows it (then the rank to this precision is not bounded through polynomials).
    """
    if not (bound > 0 and 1e-10 <= eps <= 1):
        raise ValueError(f"bound must be > 0 and eps between 1e-10 and 1, got {bound} and {eps}")
    centered = float(function(torch.zeros(1, dtype=torch.float64))) == 0
    orders = 16
    while True:
        sizes = chebyshev_coefficients(function, bound, orders).abs()
        tails = tail_sums(sizes)
        # A tenth, so that what lies past the last order, and was not sampled, is small beside eps as well.
        if float(tails[orders // 2 - 1]) <= 0.1 * eps * float(sizes.max()):
            break
        orders *= 2
        if orders > HIGHEST_ORDERS:
            raise ValueError(
                f"no polynomial of a degree below {HIGHEST_ORDERS // 2} follows φ on |z| ≤ {bound:g} to {eps:g}"
            )
    with torch.no_grad():
        size = float(function(bound * torch.linspace(-1, 1, 8 * orders + 1, dtype=torch.float64)).abs().max())
    if size == 0:
        raise ValueError(f"φ is zero on |z| ≤ {bound:g}: the update is zero and has no rank")
    # The terms that were sampled, and twice the tail past them (an interpolant differs from the cut series by as much
    # again), which is taken to be no larger than that of the second half of the series.
    enough = tails + 2 * tails[orders // 2 - 1] <= (eps / 2 if centered else eps) * size
    degree = int(enough.nonzero()[0])
    return RankPrediction(degree, degree_rank_bound(r, degree, centered=centered), size, eps)


def epsilon_rank(matrix: Tensor, threshold: float) -> int:
    """How many singular values are above a threshold: the rank that is left when errors of its size do not count.

    >>> epsilon_rank(torch.diag(torch.tensor([3.0, 1.0, 1e-6])), 1e-3)
    2
    """
    return int((torch.linalg.svdvals(matrix.detach().double()) > threshold).sum())

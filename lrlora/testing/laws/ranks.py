"""Ranks by counting monomials, and the rank that is left to a precision.

The bridge from a function to a rank is Eckart and Young's theorem: a polynomial of degree d makes of BA a matrix of
rank C(r + d, d) at most, and the singular values of φ(BA) past that are at most the distance to that matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from numpy.polynomial import chebyshev
from torch import Tensor


def monomial_rank_bound(r: int, powers: Iterable[int]) -> int:
    """Return the highest rank of φ(BA) where φ has these powers of z; docs/laws.md, law 2. Generic B and A attain it.

    >>> monomial_rank_bound(4, [1]), monomial_rank_bound(4, [0]), monomial_rank_bound(4, [1, 3])
    (4, 1, 24)
    """
    return sum(math.comb(r + k - 1, k) for k in set(powers))


def degree_rank_bound(r: int, degree: int, *, centered: bool = False) -> int:
    """Return C(r + d, d), one less where φ(0) is subtracted: the highest rank of φ(BA) for a polynomial of degree d.

    >>> degree_rank_bound(2, 3), degree_rank_bound(2, 3, centered=True), degree_rank_bound(8, 2)
    (10, 9, 45)
    """
    return math.comb(r + degree, degree) - centered


def lowest_degree_for_rank(r: int, rank: int) -> int:
    """Return the lowest degree at which a polynomial φ of a BA of rank r may reach a rank.

    >>> lowest_degree_for_rank(1, 768), lowest_degree_for_rank(2, 768), lowest_degree_for_rank(8, 768)
    (767, 38, 5)
    """
    return next(degree for degree in range(rank) if degree_rank_bound(r, degree) >= rank)


def chebyshev_coefficients(function: Callable[[Tensor], Tensor], bound: float, orders: int) -> Tensor:
    """Return c_k of T_k(z / bound), ``(orders,)``, of an elementwise function at Chebyshev nodes of [−bound, bound]."""
    with torch.no_grad():
        return torch.tensor(
            chebyshev.chebinterpolate(lambda t: function(bound * torch.tensor(t)).double().numpy(), orders - 1)
        )


def tail_sums(coefficients: Tensor) -> Tensor:
    """Return Σ_{k > d} |c_k| for d = 0, 1, …: a bound on what the terms past d add anywhere on the range."""
    sizes = coefficients.abs()
    return sizes.flip(0).cumsum(0).flip(0) - sizes


@dataclass(frozen=True)
class RankPrediction:
    """The rank that φ(BA) has to a precision, for every B and A of rank r whose entries keep to a range.

    Attributes:
        degree: Of the lowest polynomial that follows φ on the range to the precision.
        rank: C(degree + r, degree), less one where φ(0) = 0.
        error: Of an entry, at most: eps · max|φ|.
    """

    degree: int
    rank: int
    error: float

    def threshold(self, m: int, n: int) -> float:
        """What bounds the singular values of an m × n update past ``rank``."""
        return self.error * math.sqrt(m * n)


def rank_at_precision(function: Callable[[Tensor], Tensor], r: int, bound: float, eps: float) -> RankPrediction:
    """Predict the rank of φ(BA) to a precision from the tail of φ's Chebyshev series on the range of the entries.

    The degree d is the lowest with Σ_{k > d} |c_k| ≤ eps · max|φ|. Then every entry of φ(BA) is within eps · max|φ| of
    a matrix of rank C(r + d, d), so no more singular values than that are above :meth:`RankPrediction.threshold`.
    Where φ(0) = 0 the polynomial's own constant is subtracted too, the error may double, and eps is halved.

        >>> [rank_at_precision(torch.sin, r=4, bound=bound, eps=1e-3).rank for bound in (0.01, 3.0)]
        [4, 329]

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
    for orders in (16, 32, 64, 128, 256, 512, 1024):
        sizes = chebyshev_coefficients(function, bound, orders).abs()
        tails = tail_sums(sizes)
        rest = float(tails[orders // 2 - 1])
        # A tenth, so that what lies past the last order, and was not sampled, is small beside eps as well.
        if rest <= 0.1 * eps * float(sizes.max()):
            break
    else:
        raise ValueError(f"no polynomial of a degree below {orders // 2} follows φ on |z| ≤ {bound:g} to {eps:g}")
    with torch.no_grad():
        size = float(function(bound * torch.linspace(-1, 1, 8 * orders + 1, dtype=torch.float64)).abs().max())
        centered = float(function(torch.zeros(1, dtype=torch.float64))) == 0
    if size == 0:
        raise ValueError(f"φ is zero on |z| ≤ {bound:g}: the update is zero and has no rank")
    # The terms that were sampled, and twice the tail past them (an interpolant differs from the cut series by as much
    # again), which is taken to be no larger than that of the second half of the series.
    enough = tails + 2 * rest <= (eps / 2 if centered else eps) * size
    degree = int(enough.nonzero()[0])
    return RankPrediction(degree, degree_rank_bound(r, degree, centered=centered), eps * size)


def epsilon_rank(matrix: Tensor, threshold: float) -> int:
    """Return how many singular values are above a threshold.

    >>> epsilon_rank(torch.diag(torch.tensor([3.0, 1.0, 1e-6])), 1e-3)
    2
    """
    return int((torch.linalg.svdvals(matrix.detach().double()) > threshold).sum())

"""How well polynomials follow a function on the range of the entries, and the rank that this leaves.

The bridge from a function to a rank is Eckart and Young's theorem: a polynomial of degree d makes of BA a matrix of
rank C(r + d, d) at most, and the singular values of φ(BA) past that are at most the distance to that matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from lrlora.analysis.linalg import singular_values
from lrlora.engines.chebyshev import chebyshev_nodes
from lrlora.testing.laws.bounds import degree_rank_bound

HIGHEST_ORDERS = 1024
"""Past as many orders a function counts as one that polynomials do not follow."""


@dataclass(frozen=True)
class ChebyshevSeries:
    """The polynomial through the values of a function at Chebyshev nodes of [−bound, bound].

    Attributes:
        coefficients: c_k of T_k(z / bound), float64, ``(orders,)``.
        bound: Half-width of the range, in units of z.
    """

    coefficients: Tensor
    bound: float

    @classmethod
    def of(cls, function: Callable[[Tensor], Tensor], bound: float, orders: int) -> ChebyshevSeries:
        """Sample a function of a float64 tensor at as many nodes as there are to be orders."""
        nodes, to_series = chebyshev_nodes(orders, torch.device("cpu"))
        with torch.no_grad():
            return cls(to_series @ function(bound * nodes).double(), bound)

    def __call__(self, z: Tensor, degree: int | None = None) -> Tensor:
        """The series at z, of its terms up to a degree or of all, elementwise and in float64."""
        kept = self.coefficients if degree is None else self.coefficients[: degree + 1]
        return torch.as_tensor(chebyshev.chebval((z.double() / self.bound).numpy(), kept.numpy()))

    def tails(self) -> Tensor:
        """Σ_{k > d} |c_k| for d = 0, 1, …: a bound on what the terms past d add anywhere on the range."""
        sizes = self.coefficients.abs()
        return sizes.flip(0).cumsum(0).flip(0) - sizes


def resolved_series(function: Callable[[Tensor], Tensor], bound: float, eps: float) -> ChebyshevSeries | None:
    """The shortest series, in powers of two, whose second half is below eps times its largest value; None if none is.

    Args:
        function: Elementwise, of a float64 tensor.
        bound: Half-width of the range, in units of z.
        eps: Relative; not below 1e-10, where rounding hides the coefficients.
    """
    orders = 16
    while orders <= HIGHEST_ORDERS:
        series = ChebyshevSeries.of(function, bound, orders)
        size = float(series.coefficients.abs().max())
        # A tenth, so that what lies past the last order, and was not sampled, is small beside eps as well.
        if float(series.tails()[orders // 2 - 1]) <= 0.1 * eps * size:
            return series
        orders *= 2
    return None


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
        raise ValueError(f"bound is above 0 and eps between 1e-10 and 1, not {bound} and {eps}")
    centered = float(function(torch.zeros(1, dtype=torch.float64))) == 0
    series = resolved_series(function, bound, eps)
    if series is None:
        raise ValueError(
            f"no polynomial of a degree below {HIGHEST_ORDERS // 2} follows φ on |z| ≤ {bound:g} to {eps:g}"
        )
    nodes, _ = chebyshev_nodes(4 * len(series.coefficients), torch.device("cpu"))
    with torch.no_grad():
        size = float(function(bound * nodes).abs().max())
    if size == 0:
        raise ValueError(f"φ is zero on |z| ≤ {bound:g}: the update is zero and has no rank")
    # The terms that were sampled, and twice the tail past them (an interpolant differs from the cut series by as much
    # again), which is taken to be no larger than that of the second half of the series.
    lost = series.tails() + 2 * series.tails()[len(series.coefficients) // 2 - 1]
    enough = lost <= (eps / 2 if centered else eps) * size
    degree = int(enough.nonzero()[0])
    return RankPrediction(degree, degree_rank_bound(r, degree, centered=centered), size, eps)


def epsilon_rank(matrix: Tensor, threshold: float) -> int:
    """How many singular values are above a threshold: the rank that is left when errors of its size do not count.

    >>> epsilon_rank(torch.diag(torch.tensor([3.0, 1.0, 1e-6])), 1e-3)
    2
    """
    return int((singular_values(matrix) > threshold).sum())


def algebraic_tail_bound(variation: float, smoothness: int, degree: int) -> float:
    """2V / (π ν (d − ν)^ν), ν = smoothness + 1: bounds max |f − p_d| on [−1, 1] for the series of f cut at degree d.

    V is the total variation of the ν-th derivative (Trefethen, "Approximation Theory and Approximation Practice",
    Theorem 7.2). It falls as a power of the degree, where an analytic f falls geometrically.

    >>> algebraic_tail_bound(2.0, 0, 101) <= 0.0128  # |x|: V = 2
    True

    Raises:
        ValueError: The degree is not above ν.
    """
    nu = smoothness + 1
    if degree <= nu:
        raise ValueError(f"the bound holds above degree {nu}, not at {degree}")
    bound: float = 2 * variation / (math.pi * nu * (degree - nu) ** nu)
    return bound


def geometric_tail_bound(size: float, ellipse: float, degree: int) -> float:
    """2M R^−d / (R − 1): bounds max |f − p_d| on [−1, 1] where |f| ≤ M inside the Bernstein ellipse of parameter R.

    R is the sum of the half-axes of the ellipse with foci ±1 (Trefethen, Theorem 8.2).

    Raises:
        ValueError: R is not above 1.
    """
    if ellipse <= 1:
        raise ValueError(f"the parameter of a Bernstein ellipse is above 1, not {ellipse}")
    bound: float = 2 * size * ellipse**-degree / (ellipse - 1)
    return bound

"""The workhorse: on the range that BA takes, a smooth f is a polynomial of low degree.

f is sampled at Chebyshev nodes in float64, its Chebyshev series is cut where the tail is below the tolerance, and the
polynomial is evaluated by Horner's rule. No gather, no scatter, whatever N. (Trefethen, "Approximation Theory and
Approximation Practice", chapters 3, 4 and 8, for the series and the size of its tail.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lrlora.engines.chebyshev import chebyshev_nodes, derivative_matrix, on_normal_sample, to_monomials, values_at_zero
from lrlora.engines.dense import DenseEngine
from lrlora.engines.engine import EngineError
from lrlora.engines.surrogate import SAFETY, Surrogate, range_of
from lrlora.transfer import TransferFunction

MAX_DEGREE = 64
MAX_MONOMIAL_DEGREE = 24
"""Past this degree the monomial coefficients cancel in float32; Clenshaw's recurrence does not."""


class PolynomialEngine(DenseEngine):
    """Evaluates f as a polynomial, of the lowest degree that meets the tolerance."""

    def surrogate(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Surrogate:
        """See :meth:`DenseEngine.surrogate`.

        Raises:
            EngineError: More than degree 64 would be needed.
        """
        rho, rms = range_of(A, B, transfer)
        surrogate = polynomial_surrogate(transfer, rho, rms, self.tolerance, A.dtype)
        if surrogate is None:
            raise EngineError(
                f"no polynomial of degree {MAX_DEGREE} or less follows this φ to {self.tolerance:g} in {A.dtype} "
                f"on the range |z| ≤ {rho:.3g}: use engine='tabulated', or 'auto', which picks by tolerance"
            )
        return surrogate


def polynomial_surrogate(
    transfer: TransferFunction,
    rho: float,
    rms: float,
    tolerance: float,
    dtype: torch.dtype,
    max_degree: int = MAX_DEGREE,
) -> Surrogate | None:
    """The polynomial that stands for s_out · f on [−ρ, ρ], or None where ``max_degree`` does not reach the tolerance.

    The degree is set by two tails, both against the size of what they are the tail of at entries of root mean square
    ``rms``: that of f, for ΔW; and that of the features, for the gradient of θ, which is there even where f is a
    straight line. The tail of the derivative is held to the same tolerance, for the gradients of A and B.

    Args:
        transfer: The function.
        rho: The range.
        rms: Root mean square of the entries.
        tolerance: Relative error.
        dtype: Of the entries; its rounding is held to the tolerance too.
        max_degree: The highest degree to admit.
    """
    finite = math.isfinite(rho)
    if not finite:
        rho = 1.0  # A or B is not finite: neither is the result, whatever the coefficients
    device = transfer.amplitude.device
    f = transfer.to(torch.float64)
    # Twice the degree that is admitted: what lies beyond it is measured and not aliased into the series.
    nodes, to_series = chebyshev_nodes(2 * MAX_DEGREE, device)
    z = rho * nodes
    features = f.features(z)
    series = to_series @ f.combine(z, features)

    with torch.no_grad():
        tails = _Tails([series[:, None], to_series @ features], min(max(rms / rho, 0.05), 1.0) if finite else 1.0)
        degree = tails.lowest_degree(SAFETY * tolerance)
        if degree is None or degree > max_degree:
            return None
        rounding = torch.finfo(dtype).eps / 2 / tolerance
        as_monomials = degree <= MAX_MONOMIAL_DEGREE and tails.magnification_of_monomials(degree) * rounding <= 1
        if not as_monomials and tails.magnification(degree) * rounding > 1:
            return None
    coefficients = series[: degree + 1] * transfer.output_scale
    origin = f(torch.zeros((), dtype=torch.float64, device=device)) * transfer.output_scale
    # The constant is set so that the value at 0 is f(0): where f is centred, an update of nothing is exactly nothing.
    if as_monomials:
        monomials = to_monomials(degree, device) @ coefficients
        return Monomials(rho, torch.cat([origin.reshape(1), monomials[1:]]))
    constant = coefficients[0] - coefficients @ values_at_zero(degree, device) + origin
    return ChebyshevSeries(rho, torch.cat([constant.reshape(1), coefficients[1:]]))


class Monomials(Surrogate):
    """Σ c_k t^k, by Horner's rule."""

    def value(self, t: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.value`."""
        c = coefficients.unbind()
        if len(c) == 1:
            return c[0].expand_as(t).clone()
        p = torch.addcmul(c[-2], t, c[-1])
        for k in range(len(c) - 3, -1, -1):
            torch.addcmul(c[k], p, t, out=p)
        return p

    def slope(self, t: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.slope`."""
        k = torch.arange(1, len(coefficients), dtype=coefficients.dtype, device=coefficients.device)
        return self.value(t, k * coefficients[1:])

    def pullback(self, t: Tensor, gradient: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.pullback`: the moments Σ G t^k."""
        power = gradient.clone()
        higher = (power.mul_(t).sum() for _ in range(1, len(coefficients)))
        return torch.stack([power.sum(), *higher])

    def describe(self) -> str:
        """See :meth:`Surrogate.describe`."""
        return f"polynomial of degree {len(self.coefficients) - 1} on |z| ≤ {self.rho:.3g}"


class ChebyshevSeries(Surrogate):
    """Σ c_k T_k(t), by Clenshaw's recurrence."""

    def value(self, t: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.value`."""
        c = coefficients.unbind()
        twice = 2 * t
        now, last = torch.zeros_like(t), torch.zeros_like(t)
        for k in range(len(c) - 1, 0, -1):
            now, last = torch.addcmul(c[k] - last, twice, now), now
        return torch.addcmul(c[0] - last, t, now)

    def slope(self, t: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.slope`."""
        derivative = derivative_matrix(len(coefficients) - 1, coefficients.device).to(coefficients.dtype)
        return self.value(t, derivative @ coefficients)

    def pullback(self, t: Tensor, gradient: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.pullback`: the moments Σ G T_k(t)."""
        twice = 2 * t
        last, now = gradient, gradient * t
        moments = [last.sum(), now.sum()]
        for _ in range(2, len(coefficients)):
            now, last = torch.addcmul(-last, twice, now), now
            moments.append(now.sum())
        return torch.stack(moments)

    def describe(self) -> str:
        """See :meth:`Surrogate.describe`."""
        return f"Chebyshev series of degree {len(self.coefficients) - 1} on |z| ≤ {self.rho:.3g}"


class _Tails:
    """Chebyshev coefficients of f, and of the features, beside their sizes where the entries lie.

    Args:
        groups: ``(orders, columns)`` each. A group is judged norm-wise over its columns, as the gradient of θ is.
        spread: Root mean square of t = z/ρ over the entries, which are taken as normal.
    """

    def __init__(self, groups: list[Tensor], spread: float) -> None:
        self.spread = spread
        value, slope = on_normal_sample(len(groups[0]), spread, groups[0].device)
        self.groups: list[tuple[Tensor, float, float]] = []
        for group in groups:
            of_value, of_slope = (float((at @ group).square().mean(0).sum().sqrt()) for at in (value, slope))
            if of_value != 0:  # nothing to lose in a function that is zero
                self.groups.append((group, of_value, of_slope))

    def lowest_degree(self, tolerance: float) -> int | None:
        """The lowest degree whose tail, and whose derivative's tail, are below the tolerance; None if none is."""
        needed = 1
        for group, value_size, slope_size in self.groups:
            if not group.isfinite().all():
                return None
            norms = torch.linalg.vector_norm(group, dim=1)
            # |T_k| ≤ 1, and |T_k'| ≤ k away from the ends of the interval, where hardly an entry lies.
            orders = torch.arange(len(norms), dtype=norms.dtype, device=norms.device)
            for terms, size in ((norms, value_size), (orders * norms, slope_size)):
                lost = terms.flip(0).cumsum(0).flip(0)
                too_much = (lost > tolerance * size).nonzero()
                needed = max(needed, int(too_much[-1]) if len(too_much) else 1)
        return needed if needed <= MAX_DEGREE else None

    def magnification(self, degree: int) -> float:
        """How much larger than the sum its terms are: what rounding errors are magnified by."""
        return max(
            (
                float(torch.linalg.vector_norm(group[: degree + 1], dim=1).sum()) / size
                for group, size, _ in self.groups
            ),
            default=1.0,
        )

    def magnification_of_monomials(self, degree: int) -> float:
        """The same of the monomials, at entries of three times the spread."""
        power = min(1.0, 3 * self.spread) ** torch.arange(degree + 1, dtype=torch.float64)
        worst = 1.0
        for group, size, _ in self.groups:
            monomials = to_monomials(degree, group.device) @ group[: degree + 1]
            terms = torch.linalg.vector_norm(monomials, dim=1) * power.to(group.device)
            worst = max(worst, float(terms[1:].sum()) / size)
        return worst

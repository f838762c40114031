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
        surrogate = polynomial_surrogate(transfer, rho, rms, self.tolerance)
        if surrogate is None:
            raise EngineError(
                f"no polynomial of degree {MAX_DEGREE} or less follows this φ to {self.tolerance:g} on the range "
                f"|z| ≤ {rho:.3g}: use engine='tabulated', or 'auto', which picks by tolerance"
            )
        return surrogate


def polynomial_surrogate(transfer: TransferFunction, rho: float, rms: float, tolerance: float) -> Surrogate | None:
    """The polynomial that stands for s_out · f on [−ρ, ρ], or None where degree 64 does not reach the tolerance.

    The degree is set by two tails, both against the size of what they are the tail of at entries of root mean square
    ``rms``: that of f, for ΔW; and that of the features, for the gradient of θ, which is there even where f is a
    straight line. The tail of the derivative is held to the same tolerance, for the gradients of A and B.
    """
    if not math.isfinite(rho):
        rho = 1.0  # A or B is not finite: neither is the result, whatever the coefficients
    dtype, device = torch.float64, transfer.amplitude.device
    f = transfer.to(dtype)
    # Twice the degree that is admitted: what lies beyond it is measured and not aliased into the series.
    nodes, to_series = chebyshev_nodes(2 * MAX_DEGREE, device)
    z = rho * nodes
    features = f.features(z)
    series = to_series @ f.combine(z, features)

    with torch.no_grad():
        both = torch.cat([series[:, None], to_series @ features], dim=1)  # the columns: f, ψ_1 … ψ_N
        degree = _lowest_degree(both, min(max(rms / rho, 0.05), 1.0), SAFETY * tolerance)
    if degree is None:
        return None
    coefficients = series[: degree + 1] * transfer.output_scale
    origin = f(torch.zeros((), dtype=dtype, device=device)) * transfer.output_scale
    if degree <= MAX_MONOMIAL_DEGREE:
        monomials = to_monomials(degree, device) @ coefficients
        # Exactly f(0), so that an update whose BA is zero is exactly zero where f is centred.
        return Monomials(rho, torch.cat([origin.reshape(1), monomials[1:]]))
    at_zero = values_at_zero(degree, device)
    return ChebyshevSeries(
        rho, torch.cat([(coefficients[0] - coefficients @ at_zero + origin).reshape(1), coefficients[1:]])
    )


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


def _lowest_degree(series: Tensor, spread: float, tolerance: float) -> int | None:
    """The lowest degree whose tail, and whose derivative's tail, are below the tolerance; None if none is.

    Args:
        series: Chebyshev coefficients, ``(orders, columns)``: of f in the first column, of the features in the others.
        spread: Root mean square of t = z/ρ over the entries.
        tolerance: Relative to the root mean square of the value, and of the slope, over entries that are normal with
            that spread.
    """
    if not series.isfinite().all():
        return None
    order = torch.arange(len(series), dtype=series.dtype, device=series.device)[:, None]
    value, slope = on_normal_sample(len(series), spread, series.device)
    groups = [series[:, :1], series[:, 1:]]
    needed = 1
    for group in groups:
        # Norm-wise over the columns of a group, since that is how the gradient of θ is judged.
        for scale, weight in ((value @ group, 1.0), (slope @ group, order)):
            size = scale.square().mean(0).sum().sqrt()
            if size == 0:
                continue
            # |T_k| ≤ 1, and |T_k'| ≤ k away from the ends of the interval, where hardly an entry lies.
            lost = torch.linalg.vector_norm(weight * group, dim=1).flip(0).cumsum(0).flip(0)
            too_much = (lost > tolerance * size).nonzero()
            needed = max(needed, int(too_much[-1]) if len(too_much) else 1)
    return needed if needed <= MAX_DEGREE else None

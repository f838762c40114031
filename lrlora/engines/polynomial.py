"""The workhorse: on the range that BA takes, a smooth f is a polynomial of low degree.

f is sampled at Chebyshev nodes in float64, its Chebyshev series is cut where the tail is below the tolerance, and the
polynomial is evaluated by Horner's rule. No gather, no scatter, whatever N. (Trefethen, "Approximation Theory and
Approximation Practice", chapters 3, 4 and 8, for the series and the size of its tail.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lrlora.engines.chebyshev import (
    chebyshev_nodes,
    derivative_matrix,
    on_equidistant_nodes,
    to_monomials,
    values_at_zero,
)
from lrlora.engines.dense import DenseEngine
from lrlora.engines.engine import EngineError
from lrlora.engines.surrogate import SAFETY, Surrogate, range_of
from lrlora.engines.tabulated import Table
from lrlora.engines.tails import Tails
from lrlora.transfer import TransferFunction

MAX_DEGREE = 64
"""Past this degree a polynomial costs several times a table."""
MAX_MONOMIAL_DEGREE = 24
"""Past this degree the monomial coefficients cancel in float32; Clenshaw's recurrence does not."""
ORDERS = 128
"""Of the series: beyond what is admitted, so that the tail is measured and not aliased into what is kept."""
MAX_NODES_FROM_SERIES = 4096


class PolynomialEngine(DenseEngine):
    """Evaluates f as a polynomial, of the lowest degree that meets the tolerance."""

    def surrogate(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Surrogate:
        """See :meth:`DenseEngine.surrogate`.

        Raises:
            EngineError: More than degree 64 would be needed.
        """
        fit = ChebyshevFit(A, B, transfer, self.tolerance)
        surrogate = fit.polynomial(MAX_DEGREE)
        if surrogate is None:
            raise EngineError(
                f"no polynomial of degree {MAX_DEGREE} or less follows this φ to {self.tolerance:g} in {A.dtype} "
                f"on the range |z| ≤ {fit.rho:.3g}: use engine='tabulated', or 'auto', which picks by tolerance"
            )
        return surrogate


class ChebyshevFit:
    """The Chebyshev series of f, and of its features, on the range that BA takes.

    How far the series must go is set by two tails, both against the size of what they are the tail of where the entries
    lie: that of f, for ΔW; and that of the features, for the gradient of θ, which is there even where f is a straight
    line. The tails of the derivatives are held to the same tolerance, for the gradients of A and B.
    """

    def __init__(self, A: Tensor, B: Tensor, transfer: TransferFunction, tolerance: float) -> None:
        self.range = rho, rms = range_of(A, B, transfer)
        finite = math.isfinite(rho)
        # Where A or B is not finite, neither is the result, whatever the coefficients.
        self.rho = rho if finite else 1.0
        self.tolerance = tolerance
        self.output_scale = transfer.output_scale
        self._rounding = torch.finfo(A.dtype).eps / 2 / tolerance
        f = transfer.to(torch.float64)
        nodes, to_series = chebyshev_nodes(ORDERS, A.device)
        z = self.rho * nodes
        features = f.features(z)
        self.series = to_series @ f.combine(z, features)
        self.at_zero = f(torch.zeros((), dtype=torch.float64, device=A.device))
        with torch.no_grad():
            spread = min(max(rms / self.rho, 0.05), 1.0) if finite else 1.0
            self._tails = Tails([self.series.detach()[:, None], to_series @ features], spread)
            self.degree = self._tails.lowest_degree(SAFETY * tolerance)

    def polynomial(self, max_degree: int) -> Surrogate | None:
        """The polynomial that stands for s_out · f, or None where ``max_degree`` does not reach the tolerance.

        Nor is it used where the rounding of the entries' dtype would be magnified past the tolerance.
        """
        degree, device = self.degree, self.series.device
        if degree is None or degree > max_degree:
            return None
        as_monomials = degree <= MAX_MONOMIAL_DEGREE and self._tails.of_monomials(degree) * self._rounding <= 1
        if not as_monomials and self._tails.magnification(degree) * self._rounding > 1:
            return None
        coefficients = self.series[: degree + 1] * self.output_scale
        origin = (self.at_zero * self.output_scale).reshape(1)
        # The constant is set so that the value at 0 is f(0): a centred update of nothing is exactly nothing.
        if as_monomials:
            return Monomials(self.rho, torch.cat([origin, (to_monomials(degree, device) @ coefficients)[1:]]))
        constant = coefficients[:1] - coefficients @ values_at_zero(degree, device) + origin
        return ChebyshevSeries(self.rho, torch.cat([constant, coefficients[1:]]))

    def table(self) -> Surrogate | None:
        """The table that stands for s_out · f, read off the series; None where the series does not resolve f."""
        if self.degree is None:
            return None
        bend = self._tails.bend()  # of linear interpolation between two nodes, which falls as their number squared
        nodes = 1 << max(6, math.ceil(math.log2(max(bend / (SAFETY * self.tolerance), 1.0)) / 2))
        if nodes > MAX_NODES_FROM_SERIES:
            return None
        values, slopes = on_equidistant_nodes(self.degree + 1, nodes, self.series.device)
        coefficients = self.series[: self.degree + 1] * self.output_scale
        error = max(SAFETY * self.tolerance, bend / nodes**2)
        return Table(self.rho, values @ coefficients, slopes @ coefficients.detach(), error)


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

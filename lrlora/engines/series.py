"""f as a Chebyshev series of many terms, for one layer: where degree 28 is not enough, or a table is needed.

(Trefethen, "Approximation Theory and Approximation Practice", chapters 3, 4 and 8, for the series and its tail.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lrlora.engines.chebyshev import (
    chebyshev_nodes,
    derivative_matrix,
    on_equidistant_nodes,
    values_at_zero,
)
from lrlora.engines.columns import sampled_columns
from lrlora.engines.layers import Layers
from lrlora.engines.sampling import STORED, ThetaGradient
from lrlora.engines.surrogate import SAFETY, Surrogate
from lrlora.engines.tables import MOST_NODES, Table, hermite_cells, refine
from lrlora.engines.tails import Tails

MAX_DEGREE = 64
"""Past this degree a polynomial costs several times a table."""
ORDERS = 128
"""Of the series: beyond what is admitted, so that the tail is measured and not aliased into what is kept."""


class SeriesFit:
    """The series of f, and of what the gradient of θ sums, on the range of one layer.

    Args:
        layer: One.
        tolerance: Relative error allowed.
        orders: Terms of the series.
    """

    def __init__(self, layer: Layers, tolerance: float, orders: int = ORDERS) -> None:
        theta, where, gradients = layer.theta, layer.ranges[0], layer.gradients
        self.rho = where.rho if where.finite else 1.0
        self._scale, self._tolerance, self._dtype, self._orders = layer.scales[0], tolerance, layer.dtype, orders
        nodes, self._to_series = chebyshev_nodes(orders, theta.amplitude.device)
        z = self.rho * nodes
        keep = gradients and theta.amplitude.shape[1] * orders <= STORED
        columns, stored = sampled_columns(theta, z[None], gradients=gradients, store=layer.dtype if keep else None)
        self._centered = theta.transfer.centered
        self._f = columns.values[0, :, 0]
        self._at_zero = columns.at_zero[0, 0]
        series = self._to_series @ columns.values[0]
        series[0] += columns.at_zero[0]
        groups = [series[:, group] for group in columns.groups]
        self._tails = Tails(groups, columns.strictness, where.spread)
        self.degree = self._tails.lowest_degree(SAFETY * tolerance)
        self._theta = ThetaGradient(theta, z[None], stored) if gradients else None

    def polynomial(self) -> Surrogate | None:
        """The polynomial that stands for s_out · f.

        None where degree 64 does not reach the tolerance, or where rounding would be magnified past it.
        """
        if self.degree is None or self.degree > MAX_DEGREE:
            return None
        if self._tails.magnification(self.degree) * torch.finfo(self._dtype).eps / 2 > self._tolerance:
            return None
        terms = self._to_series[1 : self.degree + 1]
        at_zero = values_at_zero(self.degree, terms.device)[1:]
        return ChebyshevSeries(
            self.rho, self._scale, terms, at_zero, self._f, self._at_zero, self._centered, self._theta, self._dtype
        )

    def table(self) -> Table | None:
        """The table that stands for s_out · f; None where the series does not resolve f."""
        if self.degree is None:
            return None
        bend = self._tails.bend()  # of linear interpolation between two nodes, which falls as their number squared
        if not math.isfinite(bend):
            return None
        cells = 4 * self._orders
        nodes = 1 << max(6, math.ceil(math.log2(max(bend / (SAFETY * self._tolerance), 1.0)) / 2))
        refinement = min(max(1, nodes // cells), MOST_NODES // cells)
        values, slopes = on_equidistant_nodes(self._orders, cells, self._f.device)
        degree, to_series = self.degree, self._to_series[1 : self.degree + 1]
        terms = slice(1, degree + 1)
        # Fewer nodes than cells: every other one will do, and the table stays in cache.
        stride = max(1, cells // max(nodes, 64))
        value_terms = values[::stride, terms] - values_at_zero(degree, values.device)[1:]
        slope_terms = slopes[::stride, terms]

        def interpolate(f: Tensor) -> tuple[Tensor, Tensor]:
            series = to_series @ f
            cell = hermite_cells(value_terms @ series, slope_terms @ series * (2 * stride / cells))
            return refine(cell, refinement)

        error = max(SAFETY * self._tolerance, bend / (cells // stride * refinement) ** 2)
        return Table(
            self.rho, self._scale, self._f, self._at_zero, self._centered, interpolate, self._theta, error, self._dtype
        )


class ChebyshevSeries(Surrogate):
    """Σ c_k T_k(t), by Clenshaw's recurrence, with the value f(0) at 0 exactly."""

    def __init__(
        self,
        rho: float,
        scale: float,
        terms: Tensor,
        at_zero: Tensor,
        f: Tensor,
        origin: Tensor,
        centered: bool,
        theta: ThetaGradient | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(rho, theta)
        self._scale, self._terms, self._terms_at_zero, self._centered = scale, terms, at_zero, centered
        series = scale * (terms @ f)
        c = torch.cat([(scale * origin - series @ at_zero).reshape(1), series])
        self.degree = len(series)
        self.coefficients = c.to(dtype)
        self._slope = (derivative_matrix(self.degree, c.device) @ c).to(dtype)

    def evaluate_(self, t: Tensor, base: Tensor | None) -> None:
        """See :meth:`Surrogate.evaluate_`."""
        value = _clenshaw(t, self.coefficients)
        t.copy_(value if base is None else value.add_(base))

    def pull_back_(self, t: Tensor, base: Tensor | None, gradient: Tensor, *, less_linear: bool = False) -> Tensor:
        """See :meth:`Surrogate.pull_back_`: the moments Σ gradient · T_k(t)."""
        twice = 2 * t
        last, now = gradient.clone(), gradient * t
        moments = [last.sum(), now.sum()]
        for _ in range(2, self.degree + 1):
            now, last = torch.addcmul(-last, twice, now), now
            moments.append(now.sum())
        gradient.mul_(_clenshaw(t, self._slope))
        if base is not None:
            self.evaluate_(t, base)
        return torch.stack(moments).double()

    def to_samples(self, moments: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Surrogate.to_samples`."""
        u = self._scale * ((moments[1:] - self._terms_at_zero * moments[0]) @ self._terms)
        return u, None if self._centered else self._scale * moments[0]

    def describe(self) -> str:
        """See :meth:`Surrogate.describe`."""
        return f"Chebyshev series of degree {self.degree} on |z| ≤ {self.rho:.3g}"


def _clenshaw(t: Tensor, coefficients: Tensor) -> Tensor:
    c = coefficients.unbind()
    twice = 2 * t
    now, last = torch.zeros_like(t), torch.zeros_like(t)
    for k in range(len(c) - 1, 0, -1):
        now, last = torch.addcmul(c[k] - last, twice, now), now
    return torch.addcmul(c[0] - last, t, now)

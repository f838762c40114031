"""f as a polynomial of degree 28 or less: the workhorse, fitted for many layers at once.

The degree is the lowest at which three things are within the tolerance, on the average over where the entries of BA
lie: f, for ΔW; its derivative, for the gradients of A and B; and the functions that the gradient of θ is a sum of.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lrlora.engines.columns import sampled_columns
from lrlora.engines.degrees import lowest_degrees, moment_correction, to_nodes
from lrlora.engines.layers import Layers
from lrlora.engines.newton import derivative, to_powers
from lrlora.engines.passes import DEGREES, passes_of
from lrlora.engines.sampling import STORED, ThetaGradient
from lrlora.engines.surrogate import Split, Surrogate
from lrlora.engines.weighted import NODES, level_of, nodes

ROUNDING = 6e-3
"""Relative error of gradients from a product gyᵀx in bfloat16: 1.66e-3 by rounding each of the factors and the result,
and twice that, as the sums over the entries cancel more in a gradient than in its error."""


class FittedPolynomial(Surrogate):
    """Σ c_k P_k(t), k = 0 … d, with the functions P_k of :mod:`.newton`.

    Args:
        rho: The range.
        degree: d.
        coefficients: c, float64; as many as the passes of this degree take, zero past d.
        slope: Those of the derivative, one fewer.
        dtype: Of the entries.
        scale: s_out.
        level: Of the weights it was fitted with.
        centered: Whether c_0 is zero by construction.
        theta: Gradient of θ.
        error: Relative error, as estimated.
    """

    def __init__(
        self,
        rho: float,
        degree: int,
        coefficients: Tensor,
        slope: Tensor,
        dtype: torch.dtype,
        *,
        scale: float,
        level: int,
        centered: bool,
        theta: ThetaGradient | None,
        error: float,
    ) -> None:
        super().__init__(rho, theta)
        self.degree, self.error = degree, error
        self._exact = coefficients[: degree + 1]
        self._coefficients, self._slope = coefficients.to(dtype), slope.to(dtype)
        self._passes = passes_of(degree)
        self._scale, self._level, self._centered = scale, level, centered

    def split_at(self, line: float, exact: int) -> None:
        """Allow that gradients come from a rounded product.

        Args:
            line: Slope of the straight line in f.
            exact: How many moments are to be exact: two, or three.
        """
        correction = moment_correction(self._level, len(self._coefficients), exact, self._exact.device)
        self.split = Split(line * self._scale, correction)
        self._slope_off_line = self._slope.clone()
        self._slope_off_line[0] -= self.split.slope

    def evaluate_(self, t: Tensor, base: Tensor | None) -> None:
        """See :meth:`Surrogate.evaluate_`."""
        self._passes.evaluate_(t, base, self._coefficients)

    def evaluate(self, B: Tensor, A: Tensor, base: Tensor | None, out: Tensor) -> None:
        """See :meth:`Surrogate.evaluate`."""
        self._passes.evaluate(B, A, base, out, self._coefficients)

    def pull_back_(self, t: Tensor, base: Tensor | None, gradient: Tensor, *, less_linear: bool = False) -> Tensor:
        """See :meth:`Surrogate.pull_back_`: the moments Σ gradient · P_k(t)."""
        slope = self._slope_off_line if less_linear else self._slope
        return self._passes.pull_back_(t, base, gradient, self._coefficients, slope)

    def to_samples(self, moments: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Surrogate.to_samples`."""
        scaled = self._scale * moments
        transposed = to_nodes(self._level, self.degree, moments.device)
        return transposed @ scaled[1 : self.degree + 1], None if self._centered else scaled[0]

    def powers(self) -> Tensor:
        """The coefficients of 1, t … t^d, float64: for low degrees, as they cancel in high ones."""
        return to_powers(self.degree, self._exact.device) @ self._exact

    def from_powers(self, moments: Tensor) -> Tensor:
        """From gradients with respect to :meth:`powers` to what :meth:`to_samples` takes."""
        return to_powers(self.degree, moments.device).T @ moments

    def describe(self) -> str:
        """See :meth:`Surrogate.describe`."""
        how = ", in monomials of A and B" if self.factored else ", gradient product in bfloat16" if self.split else ""
        return f"polynomial of degree {self.degree}{how} on |z| ≤ {self.rho:.3g}, relative error {self.error:.1e}"


def fit_polynomials(
    layers: Layers, tolerance: float, *, degrees: Sequence[int] = DEGREES, most_exact: Sequence[int] = ()
) -> list[FittedPolynomial | None]:
    """Fit every layer; None where the highest degree is not enough, or would lose too many digits.

    Args:
        layers: What to fit.
        tolerance: Relative error allowed.
        degrees: To choose from, ascending, 28 at most.
        most_exact: Of each layer, how many moments may be taken exactly, so that the others may come from a rounded
            product where the tolerance allows; empty: none may.
    """
    theta, ranges, scales, gradients = layers.theta, layers.ranges, layers.scales, layers.gradients
    device, centered = theta.amplitude.device, theta.transfer.centered
    # Where A or B is not finite, neither is the result, whatever the coefficients.
    rho = torch.tensor([r.rho if r.finite else 1.0 for r in ranges], dtype=torch.float64, device=device)
    z = rho[:, None] * torch.as_tensor(nodes(), device=device)
    keep = gradients and theta.amplitude.shape[1] * NODES <= STORED
    columns, stored = sampled_columns(theta, z, gradients=gradients, store=layers.dtype if keep else None)
    fits = lowest_degrees(columns, ranges, degrees, tolerance, layers.dtype)

    # For all layers in a few operations, of which each layer takes its row. The constant is zero where centred.
    c = torch.cat([columns.at_zero[:, :1], fits.terms], dim=1)
    c *= torch.tensor(scales, dtype=torch.float64, device=device)[:, None]
    slopes = c @ derivative(device).T

    found: list[FittedPolynomial | None] = []
    for i, degree in enumerate(fits.degree):
        if degree == 0:
            found.append(None)
            continue
        padded = passes_of(degree).degree
        surrogate = FittedPolynomial(
            ranges[i].rho if ranges[i].finite else 1.0,
            degree,
            c[i, : padded + 1],
            slopes[i, :padded],
            layers.dtype,
            scale=scales[i],
            level=level_of(ranges[i].spread),
            centered=centered,
            theta=ThetaGradient(theta, z, stored, i) if gradients else None,
            error=fits.error[i],
        )
        if most_exact:
            allowed = (tolerance**2 - fits.error[i] ** 2) ** 0.5 / ROUNDING
            for exact in range(2, most_exact[i] + 1):
                if max(fits.curved[i], fits.bent[i][exact - 2]) <= allowed:
                    surrogate.split_at(fits.line[i], exact)
                    break
        found.append(surrogate)
    return found

"""f as a polynomial in powers of t: the workhorse, fitted for many layers at once.

The degree is the lowest at which three things are within the tolerance, on the average over where the entries of BA
lie: f, for ΔW; its derivative, for the gradients of A and B; and the functions that the gradient of θ is a sum of. They
are measured as what the fit leaves over at the nodes, and not bounded from the size of coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lrlora.engines.chebyshev import constant
from lrlora.engines.columns import Columns, columns_of
from lrlora.engines.passes import DEGREES, passes_of
from lrlora.engines.ranges import Range
from lrlora.engines.sampling import STORED, Theta, ThetaGradient, sample
from lrlora.engines.surrogate import SAFETY, Surrogate
from lrlora.engines.weighted import MAX_MONOMIAL_DEGREE, NODES, level_of, nodes, weighted_bases


class Monomials(Surrogate):
    """Σ c_k t^k, k = 0 … d.

    Args:
        rho: The range.
        coefficients: c, ``(d + 1,)``, float64.
        to_nodes: ``(nodes, d)``, from the moments of order 1 … d to gradients at the nodes.
        to_origin: From the moment of order 0 to the gradient with respect to f(0); None where the update is centred.
        theta: Gradient of θ.
        error: Relative error, as estimated.
        dtype: Of the entries.
    """

    def __init__(
        self,
        rho: float,
        coefficients: Tensor,
        to_nodes: Tensor,
        to_origin: float | None,
        theta: ThetaGradient | None,
        error: float,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(rho, theta)
        self.degree = len(coefficients) - 1
        self.error = error
        self._passes = passes_of(self.degree)
        self._to_nodes = to_nodes
        self._to_origin = to_origin
        c = torch.zeros(self._passes.degree + 1, dtype=torch.float64, device=coefficients.device)
        c[: self.degree + 1] = coefficients
        self.coefficients = c.to(dtype)
        self._slope = (torch.arange(1, len(c), dtype=torch.float64, device=c.device) * c[1:]).to(dtype)

    def evaluate_(self, t: Tensor, base: Tensor | None) -> None:
        """See :meth:`Surrogate.evaluate_`."""
        self._passes.evaluate_(t, base, self.coefficients)

    def pull_back_(self, t: Tensor, base: Tensor | None, gradient: Tensor) -> Tensor:
        """See :meth:`Surrogate.pull_back_`: the moments Σ gradient · t^k."""
        return self._passes.pull_back_(t, base, gradient, self.coefficients, self._slope)

    def to_samples(self, moments: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Surrogate.to_samples`."""
        at_origin = None if self._to_origin is None else self._to_origin * moments[0]
        return self._to_nodes @ moments[1 : self.degree + 1], at_origin

    def describe(self) -> str:
        """See :meth:`Surrogate.describe`."""
        return f"polynomial of degree {self.degree} on |z| ≤ {self.rho:.3g}, relative error {self.error:.1e}"


def fit_monomials(
    theta: Theta,
    ranges: Sequence[Range],
    scales: Sequence[float],
    tolerance: float,
    dtype: torch.dtype,
    gradients: bool,
) -> list[Monomials | None]:
    """Fit every layer; None where degree 24 is not enough, or would lose too many digits in ``dtype``.

    Args:
        theta: Of L layers.
        ranges: Of each.
        scales: s_out of each.
        tolerance: Relative error allowed.
        dtype: Of the entries.
        gradients: Whether gradients of θ will be wanted.
    """
    device, centered = theta.amplitude.device, theta.transfer.centered
    # Where A or B is not finite, neither is the result, whatever the coefficients.
    rho = torch.tensor([r.rho if r.finite else 1.0 for r in ranges], dtype=torch.float64, device=device)
    z = rho[:, None] * torch.as_tensor(nodes(), device=device)
    samples = sample(theta, z, bandwidth=gradients, grid=gradients and theta.transfer.basis.uses_grid)
    stored = theta.amplitude.shape[1] * NODES <= STORED
    kept = samples.to(torch.float32) if dtype == torch.float32 else samples

    columns = columns_of(theta, z, samples)
    levels = [level_of(r.spread) for r in ranges]
    degrees, errors, powers = _lowest_degrees(columns, levels, [r.spread for r in ranges], tolerance, dtype)
    constants = columns.at_zero[:, 0]  # zero where centred

    found: list[Monomials | None] = []
    for i, (degree, error) in enumerate(zip(degrees, errors, strict=True)):
        if degree == 0:
            found.append(None)
            continue
        gradient = ThetaGradient(theta[[i]], z[i], kept.of_layer(i) if stored else None) if gradients else None
        coefficients = scales[i] * torch.cat([constants[i].reshape(1), powers[i, :degree]])
        to_nodes = scales[i] * _to_nodes(levels[i], degree, device)
        found.append(
            Monomials(float(rho[i]), coefficients, to_nodes, None if centered else scales[i], gradient, error, dtype)
        )
    return found


def _lowest_degrees(
    columns: Columns, levels: list[int], spreads: list[float], tolerance: float, dtype: torch.dtype
) -> tuple[list[int], list[float], Tensor]:
    """The lowest degree of :data:`DEGREES` at which all columns, and the slope of f, are fitted; 0 where none will do.

    Returns:
        The degrees, the errors there, and the coefficients of t … t²⁴ of f, ``(L, 24)``, zero past the degree.
    """
    device = columns.values.device
    bases = weighted_bases(device)
    level = torch.tensor(levels, device=device)
    weight = bases.weight[level]
    b = bases.analysis[level] @ columns.values  # (L, 31, columns), in the orthonormal functions

    def by_group(squares: Tensor) -> Tensor:
        return torch.stack([squares[..., group].sum(-1) for group in columns.groups], dim=-1)

    def ratio(part: Tensor, whole: Tensor) -> Tensor:
        return torch.where(whole > 0, part / whole.clamp_min(1e-300), 0.0)  # nothing to lose in what is zero

    sizes = by_group((weight[:, :, None] * (columns.values + columns.at_zero[:, None]).square()).sum(1))
    beyond = by_group((weight[:, :, None] * columns.values.square()).sum(1) - b.square().sum(1)).clamp_min(0)
    left = by_group(b.square().flip(1).cumsum(1).flip(1)) + beyond[:, None]
    slopes = (b[:, :, :1] * bases.slopes[level]).flip(1).cumsum(1).flip(1)
    slopes_left = (weight[:, None] * slopes.square()).sum(2)
    error = (
        torch.cat([ratio(left, sizes[:, None]), ratio(slopes_left, slopes_left[:, :1])[..., None]], dim=2)
        .amax(2)
        .sqrt()
    )

    candidates = torch.tensor(DEGREES, device=device)
    meets = error[:, candidates] <= SAFETY * tolerance
    degree = torch.where(meets.any(1), candidates[meets.int().argmax(1)], 0)
    kept = torch.arange(MAX_MONOMIAL_DEGREE, device=device) < degree[:, None]
    powers = bases.monomials[level] @ (b[:, :MAX_MONOMIAL_DEGREE] * kept[..., None])
    # How much larger than their sum the terms are, at entries of three times the spread: what rounding is magnified by.
    reach = 3 * torch.tensor(spreads, dtype=torch.float64, device=device).clamp_max(1 / 3)
    height = reach[:, None] ** torch.arange(1, MAX_MONOMIAL_DEGREE + 1, device=device)
    terms = (by_group(powers.square()).sqrt() * height[..., None]).sum(1)
    rounding = ratio(terms, sizes.sqrt()).amax(1) * (torch.finfo(dtype).eps / 2)
    fine = (rounding <= tolerance) & error.isfinite().all(1)
    degree = torch.where(fine, degree, 0)
    error_there = error.gather(1, degree[:, None])[:, 0]
    report = torch.stack([degree.double(), error_there]).tolist()
    return [int(d) for d in report[0]], report[1], powers[:, :, 0]


@constant
def _to_nodes(level: int, degree: int, device: torch.device) -> Tensor:
    """From the moments of t … t^d to the gradient at the nodes, ``(nodes, d)``: the fit, transposed."""
    bases = weighted_bases(device)
    return bases.analysis[level, :degree].T @ bases.monomials[level, :degree, :degree].T

"""The engine for what a polynomial cannot follow: wide ranges, large bandwidths, kinks.

f is sampled at equidistant nodes in float64 and refined by cubic cells whose slopes are fourth-order differences of the
samples: linear in the samples, and without any derivative of the basis.
"""

from __future__ import annotations

import math

import torch
from einops import einsum
from torch import Tensor

from lrlora.engines.chebyshev import AT_AN_END
from lrlora.engines.columns import Columns, sampled_columns
from lrlora.engines.fitting import FittingEngine
from lrlora.engines.layers import Layers
from lrlora.engines.sampling import STORED, Theta, ThetaGradient, sample
from lrlora.engines.surrogate import SAFETY, Surrogate
from lrlora.engines.tables import MOST_NODES, Table, hermite_cells, refine

FEWEST_CELLS = 64
MOST_CELLS = 1 << 15


class TabulatedEngine(FittingEngine):
    """Evaluates f from a table of the fewest cells, in powers of two, that meet the tolerance.

    It never refuses: past 32,768 cells the error is what it is. :meth:`describe` states it.
    """

    def fit(self, layers: Layers) -> list[Surrogate]:
        """See :meth:`FittingEngine.fit`."""
        return [sampled_table(layers.one(i), self.tolerance) for i in range(len(layers))]


def sampled_table(layer: Layers, tolerance: float) -> Table:
    """The table that stands for s_out · f of one layer."""
    theta, gradients, where = layer.theta, layer.gradients, layer.ranges[0]
    rho = where.rho if where.finite else 1.0
    device, wants_grid = theta.amplitude.device, gradients and theta.transfer.basis.uses_grid

    def errors(cells: int) -> tuple[float, float]:
        return _errors(theta, rho, cells, where.spread, gradients)

    cells = FEWEST_CELLS
    error, bend = errors(cells)
    while error > SAFETY * tolerance and cells < MOST_CELLS:
        cells *= 2
        error, bend = errors(cells)
    # Linear interpolation between m nodes in a cell is off by the bend of a cell over m².
    needed = bend / (SAFETY * tolerance) if math.isfinite(bend) else 1.0
    refinement = 1 << max(0, math.ceil(math.log2(max(needed, 1.0)) / 2))
    refinement = min(refinement, MOST_NODES // cells)
    z = _nodes(rho, cells, device)
    stored = len(z) * theta.amplitude.shape[1] <= STORED
    samples = sample(theta, z[None], bandwidth=gradients and stored, grid=wants_grid and stored)
    phi = samples.features[0] @ theta.amplitude[0]
    f = z + phi if theta.transfer.residual else phi
    origin = torch.zeros_like(f[0]) if theta.transfer.centered else samples.origin[0] @ theta.amplitude[0]
    if not where.finite:
        f = f * math.nan  # A or B is not finite, and so neither is the update
    gradient = ThetaGradient(theta, z[None], samples if stored else None) if gradients else None
    return Table(
        rho,
        layer.scales[0],
        f,
        origin,
        theta.transfer.centered,
        lambda f: refine(_cells(f), refinement),
        gradient,
        max(error, bend / refinement**2),
        layer.dtype,
    )


def _nodes(rho: float, cells: int, device: torch.device) -> Tensor:
    """Equidistant nodes with two beyond either end, where the differences for the slopes reach."""
    return torch.arange(-2, cells + 3, dtype=torch.float64, device=device) * (2 * rho / cells) - rho


def _cells(samples: Tensor) -> Tensor:
    """``(cells + 5, ...)`` samples to ``(cells, 4, ...)`` coefficients of the place in the cell, linearly."""
    slopes = (samples[:-4] - 8 * samples[1:-3] + 8 * samples[3:-1] - samples[4:]) / 12  # per cell, at each inner node
    return hermite_cells(samples[2:-2], slopes)


def _errors(theta: Theta, rho: float, cells: int, spread: float, gradients: bool) -> tuple[float, float]:
    """Relative errors of f, and of what θ's gradient sums, weighed by how the entries lie.

    Returns:
        That of the cubic cells, midway between nodes; and that of linear interpolation across a whole cell.
    """
    nodes = _nodes(rho, cells, theta.amplitude.device)
    middle = (nodes[2:-3] + nodes[3:-2]) / 2
    weight = (torch.exp(-0.5 * (middle / (rho * spread)).square()) + AT_AN_END)[:, None]

    def at(z: Tensor) -> Columns:
        columns, _ = sampled_columns(theta, z[None], gradients=gradients)
        return columns

    at_nodes, between = at(nodes).values[0], at(middle)
    truth, at_zero = between.values[0], between.at_zero[0]
    half = torch.tensor([1, 1 / 2, 1 / 4, 1 / 8], dtype=torch.float64, device=nodes.device)
    coefficients = _cells(at_nodes)
    lost = einsum(coefficients, half, "cell power column, power -> cell column") - truth
    bent = (2 * coefficients[:, 2] + 3 * coefficients[:, 3]) / 8  # f'' · width² / 8, midway
    cubic, linear = 0.0, 0.0
    for group, strict in zip(between.groups, between.strictness, strict=True):
        size = float((weight * (truth + at_zero)[:, group].square()).sum())
        if size > 0:
            cubic = max(cubic, strict * float((weight * lost[:, group].square()).sum() / size) ** 0.5)
            linear = max(linear, strict * float((weight * bent[:, group].square()).sum() / size) ** 0.5)
    return cubic, linear

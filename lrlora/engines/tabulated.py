"""For what a polynomial cannot follow: wide ranges, large bandwidths, kinks.

f is sampled at equidistant nodes in float64 and interpolated by cubic Hermite cells whose slopes are fourth-order
differences of the samples, so that the table is linear in the samples and needs no derivative of the basis. The
backward pass gathers the incoming gradient into cell coefficients with one histogram per power.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lrlora.engines.dense import DenseEngine
from lrlora.engines.surrogate import SAFETY, Surrogate, range_of
from lrlora.transfer import TransferFunction

FEWEST_CELLS = 64
MOST_CELLS = 1 << 15


class TabulatedEngine(DenseEngine):
    """Evaluates f from a table of the fewest cells, in powers of two, that meet the tolerance.

    It never refuses: past 32,768 cells the error is what it is. :meth:`describe` states it.
    """

    def surrogate(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Surrogate:
        """See :meth:`DenseEngine.surrogate`."""
        rho, rms = range_of(A, B, transfer)
        return tabulated_surrogate(transfer, rho, rms, self.tolerance)


def tabulated_surrogate(transfer: TransferFunction, rho: float, rms: float, tolerance: float) -> Table:
    """The table that stands for s_out · f on [−ρ, ρ]."""
    if not math.isfinite(rho):
        rho = 1.0  # A or B is not finite: neither is the result, whatever the table
    f = transfer.to(torch.float64)
    cells, error = FEWEST_CELLS, math.inf
    with torch.no_grad():
        while cells <= MOST_CELLS:
            error = _error(f, rho, cells, min(max(rms / rho, 0.05), 1.0))
            if error <= SAFETY * tolerance or cells == MOST_CELLS:
                break
            cells *= 2
    z = _nodes(rho, cells, transfer.amplitude.device)
    samples = f(z) * transfer.output_scale
    return Table(rho, _cell_coefficients(samples), error)


class Table(Surrogate):
    """Cubic cells of equal width on [−1, 1]; ``coefficients`` is ``(cells, 4)`` in powers of the place in the cell."""

    def __init__(self, rho: float, coefficients: Tensor, error: float) -> None:
        super().__init__(rho, coefficients)
        self.error = error

    def _locate(self, t: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        cells = len(coefficients)
        place = (t + 1) * (cells / 2)
        # A NaN has no cell; it goes to the first one and stays NaN through its place in the cell.
        index = place.nan_to_num(0.0).long().clamp_(0, cells - 1)
        return index, place - index

    def value(self, t: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.value`."""
        index, u = self._locate(t, coefficients)
        c0, c1, c2, c3 = coefficients[index].unbind(-1)
        return ((c3 * u + c2) * u + c1) * u + c0

    def slope(self, t: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.slope`."""
        index, u = self._locate(t, coefficients)
        _, c1, c2, c3 = coefficients[index].unbind(-1)
        return ((3 * c3 * u + 2 * c2) * u + c1) * (len(coefficients) / 2)

    def pullback(self, t: Tensor, gradient: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.pullback`."""
        cells = len(coefficients)
        index, u = self._locate(t, coefficients)
        index, u, weight = index.flatten(), u.flatten(), gradient.flatten()
        sums = []
        for _ in range(4):
            sums.append(torch.zeros(cells, dtype=t.dtype, device=t.device).index_add_(0, index, weight))
            weight = weight * u
        return torch.stack(sums, dim=1)

    def describe(self) -> str:
        """See :meth:`Surrogate.describe`."""
        return f"table of {len(self.coefficients)} cells on |z| ≤ {self.rho:.3g}, relative error {self.error:.1e}"


def _nodes(rho: float, cells: int, device: torch.device) -> Tensor:
    """Equidistant nodes with two beyond either end, where the differences for the slopes reach."""
    return torch.arange(-2, cells + 3, dtype=torch.float64, device=device) * (2 * rho / cells) - rho


def _cell_coefficients(samples: Tensor) -> Tensor:
    """``(cells + 5, ...)`` samples to ``(cells, 4, ...)`` coefficients, linearly."""
    slope = (samples[:-4] - 8 * samples[1:-3] + 8 * samples[3:-1] - samples[4:]) / 12  # per cell, at each inner node
    left, right = samples[2:-3], samples[3:-2]
    into, out_of = slope[:-1], slope[1:]
    rise = right - left
    return torch.stack([left, into, 3 * rise - 2 * into - out_of, into + out_of - 2 * rise], dim=1)


def _error(f: TransferFunction, rho: float, cells: int, spread: float) -> float:
    """Relative error midway between nodes, of f and of its features, weighed by how the entries lie."""
    device = f.amplitude.device
    nodes = _nodes(rho, cells, device)
    middle = (nodes[2:-3] + nodes[3:-2]) / 2
    weight = torch.exp(-0.5 * (middle / (rho * spread)).square())
    half = torch.tensor([1, 1 / 2, 1 / 4, 1 / 8], dtype=torch.float64, device=device)
    worst = 0.0
    at_nodes, at_middle = f.features(nodes), f.features(middle)
    for samples, truth in (
        (f.combine(nodes, at_nodes)[:, None], f.combine(middle, at_middle)[:, None]),
        (at_nodes, at_middle),
    ):
        found = torch.einsum("cpn,p->cn", _cell_coefficients(samples), half)
        size = (weight[:, None] * truth.square()).sum()
        if size > 0:
            worst = max(worst, float(((weight[:, None] * (found - truth).square()).sum() / size).sqrt()))
    return worst

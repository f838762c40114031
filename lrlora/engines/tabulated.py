"""For what a polynomial cannot follow: wide ranges, large bandwidths, kinks.

f is sampled at equidistant nodes in float64, refined by cubic cells whose slopes are fourth-order differences of the
samples, and read by linear interpolation between the refined nodes. All of it is linear in the samples and needs no
derivative of the basis. Reading a table, and collecting gradients into it, are PyTorch's own ``grid_sample`` and its
backward pass, on an image of one row: one vectorised pass each, where indexing would take a dozen.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor

from lrlora.engines.dense import DenseEngine
from lrlora.engines.surrogate import SAFETY, Surrogate, range_of
from lrlora.transfer import TransferFunction

FEWEST_CELLS = 64
MOST_CELLS = 1 << 15
MOST_NODES = 1 << 20


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
    finite = math.isfinite(rho)
    if not finite:
        rho = 1.0
    f = transfer.to(torch.float64)
    spread = min(max(rms / rho, 0.05), 1.0) if finite else 1.0
    with torch.no_grad():
        cells = FEWEST_CELLS
        error, bend = _errors(f, rho, cells, spread)
        while error > SAFETY * tolerance and cells < MOST_CELLS:
            cells *= 2
            error, bend = _errors(f, rho, cells, spread)
    # Linear interpolation between m nodes in a cell is off by the bend of a cell over m².
    refinement = 1 << max(0, math.ceil(math.log2(max(bend / (SAFETY * tolerance), 1e-300)) / 2))
    refinement = min(refinement, MOST_NODES // cells)
    samples = f(_nodes(rho, cells, transfer.amplitude.device)) * transfer.output_scale
    if not finite:
        samples = samples * math.nan  # A or B is not finite, and so neither is the update
    coefficients = _cell_coefficients(samples)
    return Table(
        rho,
        _refine(coefficients, refinement),
        _refine_slope(coefficients.detach(), refinement),
        max(error, bend / refinement**2),
    )


class Table(Surrogate):
    """Values at equidistant nodes on [−1, 1], ``(nodes,)``, interpolated linearly.

    Args:
        rho: The range.
        coefficients: The values.
        slopes: The derivatives in t at the nodes, detached, interpolated linearly as well: more accurate than the steps
            that are the derivative of the interpolant.
        error: Relative error, estimated.
    """

    def __init__(self, rho: float, coefficients: Tensor, slopes: Tensor, error: float) -> None:
        super().__init__(rho, coefficients)
        self.slopes = slopes
        self.error = error

    def value(self, t: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.value`."""
        return _read(t, coefficients)

    def slope(self, t: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.slope`."""
        return _read(t, self.slopes.to(t.dtype))

    def pullback(self, t: Tensor, gradient: Tensor, coefficients: Tensor) -> Tensor:
        """See :meth:`Surrogate.pullback`: the gradient is spread over the two nodes beside each entry."""
        place, image = _as_image(t, coefficients)
        incoming = gradient.reshape(place.shape[:-1]).unsqueeze(1)
        spread = torch.ops.aten.grid_sampler_2d_backward(incoming, image, place, 0, 1, True, [True, False])[0]
        return spread.sum(0).flatten()  # type: ignore[no-any-return]

    def describe(self) -> str:
        """See :meth:`Surrogate.describe`."""
        return f"table of {len(self.coefficients)} nodes on |z| ≤ {self.rho:.3g}, relative error {self.error:.1e}"


def _read(t: Tensor, table: Tensor) -> Tensor:
    place, image = _as_image(t, table)
    return F.grid_sample(image, place, mode="bilinear", padding_mode="border", align_corners=True).view_as(t)


def _as_image(t: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Places in an image of one row, whose batch grid_sample runs in parallel.

    Returns:
        Places, ``(parts, 1, entries, 2)``, and the image, ``(parts, 1, 1, nodes)``.
    """
    parts = torch.get_num_threads() if t.device.type == "cpu" else 1
    if t.numel() % parts:
        parts = 1
    place = t.new_zeros(parts, 1, t.numel() // parts, 2)
    # grid_sample reads and writes out of bounds where a place is NaN. A range with a NaN in it has a table of NaNs, so
    # sending such an entry to the middle loses nothing.
    torch.nan_to_num(t.reshape(parts, 1, -1), nan=0.0, out=place[..., 0])
    return place, table.expand(parts, 1, 1, -1)


def _nodes(rho: float, cells: int, device: torch.device) -> Tensor:
    """Equidistant nodes with two beyond either end, where the differences for the slopes reach."""
    return torch.arange(-2, cells + 3, dtype=torch.float64, device=device) * (2 * rho / cells) - rho


def _cell_coefficients(samples: Tensor) -> Tensor:
    """``(cells + 5, ...)`` samples to ``(cells, 4, ...)`` coefficients of the place in the cell, linearly."""
    slope = (samples[:-4] - 8 * samples[1:-3] + 8 * samples[3:-1] - samples[4:]) / 12  # per cell, at each inner node
    left, right = samples[2:-3], samples[3:-2]
    into, out_of = slope[:-1], slope[1:]
    rise = right - left
    return torch.stack([left, into, 3 * rise - 2 * into - out_of, into + out_of - 2 * rise], dim=1)


def _powers(refinement: int, like: Tensor) -> Tensor:
    return torch.arange(refinement, dtype=like.dtype, device=like.device)[None] / refinement


def _refine(coefficients: Tensor, refinement: int) -> Tensor:
    """Values at ``refinement`` nodes per cell, and at the last end."""
    u = _powers(refinement, coefficients)
    inner = coefficients @ torch.cat([u**0, u, u**2, u**3])
    return torch.cat([inner.flatten(), coefficients[-1].sum().reshape(1)])


def _refine_slope(coefficients: Tensor, refinement: int) -> Tensor:
    """Derivatives in t at the same nodes."""
    u = _powers(refinement, coefficients)
    c1, c2, c3 = coefficients[:, 1:].unbind(1)
    inner = torch.stack([c1, 2 * c2, 3 * c3], dim=1) @ torch.cat([u**0, u, u**2])
    last = (c1 + 2 * c2 + 3 * c3)[-1]
    return torch.cat([inner.flatten(), last.reshape(1)]) * (len(coefficients) / 2)


def _errors(f: TransferFunction, rho: float, cells: int, spread: float) -> tuple[float, float]:
    """Relative errors of f and of its features, weighed by how the entries lie.

    Returns:
        That of the cubic cells, midway between nodes; and that of linear interpolation across a whole cell.
    """
    device = f.amplitude.device
    nodes = _nodes(rho, cells, device)
    middle = (nodes[2:-3] + nodes[3:-2]) / 2
    weight = torch.exp(-0.5 * (middle / (rho * spread)).square())[:, None]
    at_nodes, at_middle = f.features(nodes), f.features(middle)
    half = torch.tensor([1, 1 / 2, 1 / 4, 1 / 8], dtype=torch.float64, device=device)
    cubic, linear = 0.0, 0.0
    for samples, truth in (
        (f.combine(nodes, at_nodes)[:, None], f.combine(middle, at_middle)[:, None]),
        (at_nodes, at_middle),
    ):
        size = (weight * truth.square()).sum()
        if not size > 0:
            continue
        cells_of = _cell_coefficients(samples)
        lost = einsum(cells_of, half, "cell power column, power -> cell column") - truth
        bend = (2 * cells_of[:, 2] + 3 * cells_of[:, 3]) / 8  # f'' · width² / 8, midway
        cubic = max(cubic, float(((weight * lost.square()).sum() / size).sqrt()))
        linear = max(linear, float(((weight * bend.square()).sum() / size).sqrt()))
    return cubic, linear

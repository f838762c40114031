"""φ as training left it: the curve over the range that BA takes, and how its entries are spread there.

That curve is what Figures 6 to 17 of the LR-LoRA paper draw. Everything here reads a histogram of the entries in place
of the entries, so that it costs the same for a weight of any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.transfer import TransferFunction

CURVE_POINTS = 49
SHOWN_BINS = 24
FINE_BINS = 2047
"""Odd, so that zero, where most entries are, is the middle of a bin."""

ACTIVE = 0.01
"""A basis function is active where |a_i| is at least this share of the layer's largest (LR-LoRA paper, Table 15)."""


@dataclass(frozen=True)
class TransferCurve:
    """f over the range of z = s_in · BA in one layer.

    Attributes:
        low: Least z.
        high: Greatest z.
        values: f at equidistant z from ``low`` to ``high``, both included.
        slope: c of the straight line c·z that is nearest to f over the entries; what is left is the bend of φ.
        histogram: Share of the entries in equal bins from ``low`` to ``high``.
    """

    low: float
    high: float
    values: tuple[float, ...]
    slope: float
    histogram: tuple[float, ...]


@dataclass(frozen=True)
class Entries:
    """The entries of a matrix as weighted points, ``(k,)`` in float64: the means of fine bins, and their shares."""

    points: Tensor
    shares: Tensor


def entries_of(matrix: Tensor) -> Entries:
    """The entries of a matrix in at most :data:`FINE_BINS` bins of equal width, those that are empty left out."""
    flat = matrix.detach().float().flatten()
    largest = float(flat.abs().max())
    if largest == 0 or not torch.isfinite(flat).all():
        value = 0.0 if largest == 0 else float("nan")
        return Entries(torch.full((1,), value, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    counts = torch.histc(flat.cpu(), FINE_BINS, -largest, largest).double()
    edges = torch.linspace(-largest, largest, FINE_BINS + 1, dtype=torch.float64)
    held = counts > 0
    return Entries(((edges[:-1] + edges[1:]) / 2)[held], counts[held] / counts.sum())


@torch.no_grad()
def transfer_curve(product: Tensor, transfer: TransferFunction, points: int = CURVE_POINTS) -> TransferCurve:
    """The curve of f over the entries of s_in · BA.

    Args:
        product: BA, of any shape. Where it is zero, as before the first step, the range is that of the grid.
        transfer: f, with its input scale.
        points: Number of values.
    """
    z = transfer.input_scale * product.detach()
    low, high = float(z.min()), float(z.max())
    if low == high == 0:
        high = float(transfer.grid.detach().abs().max()) or 1.0
        low = -high
    exact = on_cpu(transfer)
    at = torch.linspace(low, high, points, dtype=torch.float64)
    counts = torch.histc(z.float().cpu(), SHOWN_BINS, low, high).double()
    shares = counts / counts.sum().clamp_min(1)
    entries = entries_of(z)
    return TransferCurve(
        low=_rounded(low),
        high=_rounded(high),
        values=tuple(_rounded(value) for value in exact(at).tolist()),
        slope=_rounded(nearest_line(entries.points, exact(entries.points), entries.shares)),
        histogram=tuple(float(f"{share:.3g}") for share in shares.tolist()),
    )


def active_share(amplitude: Tensor) -> float:
    """Share of the basis functions with |a_i| ≥ 1 % of the largest |a_i|; 0 where all are zero.

    >>> active_share(torch.tensor([2.0, -1.0, 0.001, 0.0]))
    0.5
    """
    sizes = amplitude.detach().abs()
    if sizes.max() == 0:
        return 0.0
    return float((sizes >= ACTIVE * sizes.max()).double().mean())


def nearest_line(z: Tensor, f: Tensor, shares: Tensor) -> float:
    """The slope c with the least Σ shares · (f − c·z)²; 0 where z is zero."""
    square = float((shares * z * z).sum())
    return float((shares * z * f).sum()) / square if square > 0 else 0.0


def on_cpu(transfer: TransferFunction) -> TransferFunction:
    """The function in float64 on the processor, where a few thousand points are evaluated soonest."""
    exact = transfer.to(torch.float64)
    theta = {name: getattr(exact, name).detach().cpu() for name in ("amplitude", "bandwidth", "grid")}
    return TransferFunction(
        exact.basis,
        **theta,
        input_scale=exact.input_scale,
        output_scale=exact.output_scale,
        residual=exact.residual,
        centered=exact.centered,
    )


def _rounded(value: float) -> float:
    # A φ that hardly bends leaves its line in the sixth digit, and a figure may show just that.
    return float(f"{value:.9g}")

"""φ after training: its curve over the range of BA, how the entries are distributed, and where a linear φ would bend.

The curves are those of Figures 6 to 17 of the LR-LoRA paper. Everything here reads a histogram of the entries, so that
the cost does not grow with N times the size of the weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from lrlora.transfer import TransferFunction

ACTIVE = 0.01
"""A basis function is active if |a_i| is at least this share of the largest (compare LR-LoRA paper, Table 15)."""
LINEAR_BELOW = 0.01
"""φ is called linear if the nonlinear fraction is below this."""

_CURVE_POINTS, _SHOWN_BINS = 49, 24
_FINE_BINS = 2047  # odd, so that zero, where most entries are, is the middle of a bin
_REACH = 100.0
_STEP = math.sqrt(2.0)
_HALVINGS = 12


@dataclass(frozen=True)
class TransferCurve:
    """f over the range of z = s_in · BA in one layer.

    Attributes:
        low, high: The least and the greatest z.
        values: f at equidistant z from ``low`` to ``high``, both included.
        slope: c of the linear function c·z nearest to f over the entries.
        histogram: Share of the entries in equal bins from ``low`` to ``high``.
    """

    low: float
    high: float
    values: tuple[float, ...]
    slope: float
    histogram: tuple[float, ...]


@torch.no_grad()
def transfer_curve(product: Tensor, transfer: TransferFunction, points: int = _CURVE_POINTS) -> TransferCurve:
    """Returns the curve of f over the entries of s_in · BA.

    Args:
        product: BA, of any shape. If it is zero, as before the first step, the range is that of the grid.
        transfer: f, with its input scale.
        points: Number of values.
    """
    z = transfer.input_scale * product.detach()
    low, high = float(z.min()), float(z.max())
    if low == high == 0:
        high = float(transfer.grid.detach().abs().max()) or 1.0
        low = -high
    exact = _on_cpu(transfer)
    counts = torch.histc(z.float().cpu(), _SHOWN_BINS, low, high).double()
    entries, shares = _entries(z)
    return TransferCurve(
        low=_rounded(low),
        high=_rounded(high),
        values=tuple(map(_rounded, exact(torch.linspace(low, high, points, dtype=torch.float64)).tolist())),
        slope=_rounded(_nearest_line(entries, exact(entries), shares)),
        histogram=tuple(float(f"{share:.3g}") for share in (counts / counts.sum().clamp_min(1)).tolist()),
    )


def active_share(amplitude: Tensor) -> float:
    """Returns the share of the basis functions with |a_i| ≥ 1 % of the largest |a_i|; 0 if all are zero.

    Args:
        amplitude: a, ``(N,)``.

    >>> active_share(torch.tensor([2.0, -1.0, 0.001, 0.0]))
    0.5
    """
    sizes = amplitude.detach().abs()
    return float((sizes >= ACTIVE * sizes.max()).double().mean()) if sizes.max() > 0 else 0.0


@torch.no_grad()
def bending_scale(product: Tensor, transfer: TransferFunction, fraction: float) -> float | None:
    """Returns the least input scale, from the present one up, at which the nonlinear fraction is ``fraction``.

    A, B, θ and s_in · s_out stay as they are. Training at that scale would lead to others, so this is a hint for the
    next run. The search goes up in steps of √2 until the largest entry is 100 times the grid's bound, and then bisects
    the last step.

    Args:
        product: BA, of any shape.
        transfer: f, with its present input scale, which is returned if the fraction is reached already.
        fraction: Above 0 and below 1.

    Returns:
        s_in; None if the fraction is never reached, as with amplitudes of zero or an update of zero.
    """
    entries, shares = _entries(product)
    exact = _on_cpu(transfer)
    largest = float(entries.abs().max())
    if not 0 < largest < math.inf or not exact.amplitude.any():
        return None

    def bend(scale: float) -> float:
        z = scale * entries
        f = exact(z)
        size = float((shares * f * f).sum())
        rest = f - _nearest_line(z, f, shares) * z
        return math.sqrt(float((shares * rest * rest).sum()) / size) if size > 0 else 0.0

    low = high = transfer.input_scale
    end = max(_REACH * max(float(exact.grid.abs().max()), 1.0) / largest, _STEP * high)
    while (found := bend(high)) < fraction:
        low, high = high, high * _STEP
        if low > end:
            return None
    if not math.isfinite(found):
        return None
    for _ in range(_HALVINGS if low < high else 0):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if bend(middle) >= fraction else (middle, high)
    return high


def _entries(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The middles of the bins of equal width that entries are in, and the shares of the entries, ``(k,)``, float64."""
    flat = matrix.detach().float().flatten().cpu()
    largest = float(flat.abs().max())
    if largest == 0 or not flat.isfinite().all():
        value = 0.0 if largest == 0 else math.nan
        return torch.tensor([value], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    counts = torch.histc(flat, _FINE_BINS, -largest, largest).double()
    edges = torch.linspace(-largest, largest, _FINE_BINS + 1, dtype=torch.float64)
    taken = counts > 0
    return ((edges[:-1] + edges[1:]) / 2)[taken], counts[taken] / counts.sum()


def _nearest_line(z: Tensor, f: Tensor, shares: Tensor) -> float:
    """The slope c with the least Σ shares · (f − c·z)²; 0 if z is zero."""
    square = float((shares * z * z).sum())
    return float((shares * z * f).sum()) / square if square > 0 else 0.0


def _on_cpu(transfer: TransferFunction) -> TransferFunction:
    """The function in float64 on the CPU, where a few thousand points are evaluated soonest."""

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: moved(part) for name, part in value.items()}
        return value.detach().cpu().double() if isinstance(value, Tensor) else value

    return replace(transfer, **{field.name: moved(getattr(transfer, field.name)) for field in fields(transfer)})


def _rounded(value: float) -> float:
    return float(f"{value:.9g}")  # a φ that hardly bends leaves its line in the sixth digit

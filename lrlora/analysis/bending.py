"""Where a φ that stayed a straight line would bend: the input scale at which it stops being one.

An update with a nonlinear fraction under one per cent is LoRA's. Its φ may be straight for good, or the entries of BA
may only be too small for it; then a larger s_in, with s_in · s_out as it is, is what to train with. The number is that
of the present A, B and θ, and another scale would have trained others: it is a hint for the next run.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lrlora.analysis.curves import entries_of, nearest_line, on_cpu
from lrlora.transfer import TransferFunction

STRAIGHT_LINE = 0.01
"""Nonlinear fraction under which φ is called a straight line."""

_REACH = 100.0
"""The search ends where the largest entry is this many times beyond the grid: there φ has nothing new to show."""
_STEP = math.sqrt(2.0)
_HALVINGS = 30


@torch.no_grad()
def bending_scale(product: Tensor, transfer: TransferFunction, fraction: float) -> float | None:
    """The least input scale, from the present one up, at which the nonlinear fraction is ``fraction``.

    The search goes up in steps of √2, and then halves the last step.

    Args:
        product: BA, of any shape.
        transfer: f, with its present input scale, which is returned where the fraction is reached already.
        fraction: Above 0 and below 1.

    Returns:
        s_in; None where the fraction is never reached, as with amplitudes of zero or an update of zero.
    """
    entries = entries_of(product)
    exact = on_cpu(transfer)
    largest = float(entries.points.abs().max())
    if not 0 < largest < math.inf or not exact.amplitude.any():
        return None

    def bend(scale: float) -> float:
        z = scale * entries.points
        f = exact(z)
        size = float((entries.shares * f * f).sum())
        rest = f - nearest_line(z, f, entries.shares) * z
        return math.sqrt(float((entries.shares * rest * rest).sum()) / size) if size > 0 else 0.0

    low = high = transfer.input_scale
    if bend(high) >= fraction:
        return high
    end = max(_REACH * max(float(exact.grid.abs().max()), 1.0) / largest, _STEP * high)
    while True:
        low, high = high, high * _STEP
        if low > end:
            return None
        found = bend(high)
        if not math.isfinite(found):
            return None
        if found >= fraction:
            break
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if bend(middle) >= fraction else (middle, high)
    return high

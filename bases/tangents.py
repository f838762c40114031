"""How polynomials on an interval go on outside of it."""

from __future__ import annotations

import torch
from torch import Tensor


def tangents(outside: Tensor, slope: Tensor) -> Tensor:
    """Returns what the tangents at ±1 add to polynomials of degrees 1 … N that are even or odd as their degrees are.

    Args:
        outside: x − clamp(x, −1, 1), ``(..., N)``.
        slope: Derivatives of the polynomials at 1, ``(N,)``.
    """
    odd = torch.arange(1, len(slope) + 1, device=slope.device) % 2 == 1
    return slope * torch.where(odd, outside, outside.abs())

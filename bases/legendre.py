"""Legendre polynomials on the grid interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrlora.bases.basis import Basis, Properties
from lrlora.bases.options import number


@dataclass(frozen=True)
class Legendre(Basis):
    """ψ_i(z) = P_i(ω_i z / g), i = 1 … N: Legendre polynomials. The grid points play no part.

    At ω = 1 they are orthogonal on the grid interval with a constant weight, where Chebyshev polynomials weigh its ends
    most. Outside of |ω_i z| ≤ g the functions stay at their values at the ends, ±1. The polynomials would grow there
    like (2x)^i / √(πi), and a few training steps with large entries would end in NaN.

    Args:
        bound: Half-width g of the interval, in units of z.
    """

    uses_grid: ClassVar[bool] = False
    bound: float = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bound", number("bound of legendre", self.bound, above=0))

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        """See :meth:`Basis.matrix`.

        By Bonnet's recurrence (k + 1) P_k+1 = (2k + 1) x P_k − k P_k−1. Each column has its own x, so it runs on all
        columns at once and leaves the first of them behind at every step: N steps on N/2 columns on the average.
        There is no doubling rule as for Chebyshev polynomials.
        """
        x = (z.unsqueeze(-1) * (bandwidth / self.bound)).clamp(-1, 1)
        last, now = torch.ones_like(x), x  # P_k−1 and P_k in the columns from k on
        done = []
        for k in range(1, bandwidth.shape[-1]):
            done.append(now[..., :1])
            x, last, now = x[..., 1:], last[..., 1:], now[..., 1:]
            last, now = now, torch.lerp(last, x * now, 2 - 1 / (k + 1))
        return torch.cat([*done, now], dim=-1)

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="definite", smoothness=math.inf, polynomial=True, interval=self.bound)

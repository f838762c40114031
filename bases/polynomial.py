"""Chebyshev polynomials on the grid interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrlora.bases.basis import Basis, Properties
from lrlora.bases.options import number


@dataclass(frozen=True)
class Polynomial(Basis):
    """ψ_i(z) = T_i(ω_i z / g), i = 1 … N: Chebyshev polynomials of the first kind. The grid points play no part.

    Outside of |ω_i z| ≤ g the functions stay at their values at the ends, ±1. The polynomials would grow there like
    (2x)^i / 2, and a few training steps with large entries would end in NaN.

    Args:
        bound: Half-width g of the interval, in units of z.
    """

    uses_grid: ClassVar[bool] = False
    bound: float = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bound", number("bound of polynomial", self.bound, above=0))

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        """See :meth:`Basis.matrix`.

        By the doubling recurrences T_2k = 2 T_k² − 1 and T_2k+1 = 2 T_k T_k+1 − x, which walk down the binary digits
        of the order: log2(N) steps for all orders at once. The gradient of the closed form cos(i·acos x) is
        not finite at the ends.
        """
        n = bandwidth.shape[-1]
        x = (z.unsqueeze(-1) * (bandwidth / self.bound)).clamp(-1, 1)
        order = torch.arange(1, n + 1, device=z.device)
        low, high = torch.ones_like(x), x  # T_k and T_k+1, where k is the leading digits of the order read so far
        for digit in reversed(range(n.bit_length())):
            between = 2 * low * high - x
            is_one = (order >> digit) & 1 == 1
            low, high = (
                torch.where(is_one, between, 2 * low.square() - 1),
                torch.where(is_one, 2 * high.square() - 1, between),
            )
        return low

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="definite", smoothness=math.inf, polynomial=True, interval=self.bound)

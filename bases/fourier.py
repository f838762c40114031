"""Trigonometric functions on the grid interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrlora.bases.basis import Basis, Properties
from lrlora.bases.options import number


@dataclass(frozen=True)
class Fourier(Basis):
    """⌈N/2⌉ cosines, then ⌊N/2⌋ sines, of the frequencies ω_k · kπ/g, k = 1, 2, …

    At ω = 1 they are periodic with the interval [−g, g]. The grid points play no part.

    Args:
        bound: Half-width g of the interval, in units of z.
    """

    uses_grid: ClassVar[bool] = False
    bound: float = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bound", number("bound of fourier", self.bound, above=0))

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        """See :meth:`Basis.matrix`."""
        n = bandwidth.shape[-1]
        cosines = (n + 1) // 2
        harmonic = torch.arange(n, dtype=bandwidth.dtype, device=bandwidth.device)
        harmonic = torch.where(harmonic < cosines, harmonic, harmonic - cosines) + 1
        angle = z.unsqueeze(-1) * (bandwidth * harmonic * (math.pi / self.bound))
        return torch.cat([angle[..., :cosines].cos(), angle[..., cosines:].sin()], dim=-1)

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="definite", period=2 * self.bound, smoothness=math.inf)

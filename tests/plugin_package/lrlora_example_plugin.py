"""What a third party ships: a basis and a grid, found through the entry points of its package and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.bases import Properties, ShiftedBasis
from lrlora.policies import Grid


@dataclass(frozen=True)
class RaisedCosine(ShiftedBasis):
    """ψ(u) = cos²(πu/2) for |u| < 1 and zero outside: the Hann window, whose integer shifts sum to one."""

    def kernel(self, u: Tensor) -> Tensor:
        """See :meth:`ShiftedBasis.kernel`."""
        inside = u.abs() < 1
        return torch.where(inside, 0.5 + 0.5 * torch.cos(math.pi * torch.where(inside, u, torch.zeros_like(u))), 0.0)

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="even", support=1.0, partition_of_unity=True, smoothness=1)


@dataclass(frozen=True)
class DenseAtZero(Grid):
    """Equidistant points t of [−1, 1] at g · t³."""

    def points(self, num: int, bound: float) -> Tensor:
        """See :meth:`Grid.points`."""
        even = torch.linspace(-1, 1, num, dtype=torch.float64) if num > 1 else torch.zeros(1, dtype=torch.float64)
        return bound * even**3

"""Where the grid points lie."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrlora.bases.options import number
from lrlora.policies.kind import PolicyKind


class Grid(ABC):
    """Places N grid points on [−g, g]."""

    learned: ClassVar[bool] = False
    """Whether the points are trained. They stay in order: what is trained is the first point and the log gaps."""

    @abstractmethod
    def points(self, num: int, bound: float) -> Tensor:
        """The points at the start, ``(num,)``, float64, increasing, within [−bound, bound]."""


GRIDS: PolicyKind[Grid] = PolicyKind(
    Grid, field="grid", group="lrlora.grids", check="check_grid", default="uniform", about="Where the grid points lie."
)


@GRIDS.builtin("uniform")
@dataclass(frozen=True)
class Uniform(Grid):
    """Equidistant, the ends included. The published choice, with N = 50 and g = 3."""

    def points(self, num: int, bound: float) -> Tensor:
        return torch.linspace(-bound, bound, num, dtype=torch.float64) if num > 1 else torch.zeros(1).double()


@GRIDS.builtin("chebyshev")
@dataclass(frozen=True)
class Chebyshev(Grid):
    """Chebyshev nodes, g·cos((2i − 1)π / 2N): dense towards the ends."""

    def points(self, num: int, bound: float) -> Tensor:
        angle = (torch.arange(num, dtype=torch.float64) + 0.5) * (math.pi / num)
        return -bound * angle.cos()


@GRIDS.builtin("random")
@dataclass(frozen=True)
class Random(Grid):
    """Sampled uniformly and sorted, from PyTorch's global generator, so that it follows the seed of the run."""

    def points(self, num: int, bound: float) -> Tensor:
        return (torch.rand(num, dtype=torch.float64) * (2 * bound) - bound).sort().values


@GRIDS.builtin("jittered")
@dataclass(frozen=True)
class Jittered(Grid):
    """Equidistant points, each moved by normal noise from PyTorch's global generator.

    Args:
        noise: Standard deviation, as a share of the distance between neighbours.
    """

    noise: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", number("noise of grid 'jittered'", self.noise, least=0))

    def points(self, num: int, bound: float) -> Tensor:
        even = Uniform().points(num, bound)
        spacing = 2 * bound / max(num - 1, 1)
        moved = even + torch.randn(num, dtype=torch.float64) * (self.noise * spacing)
        # Reflected at the ends, where clipping would put points on top of each other.
        moved = moved + 2 * (-bound - moved).clamp_min(0) - 2 * (moved - bound).clamp_min(0)
        return moved.clamp(-bound, bound).sort().values


@GRIDS.builtin("learned")
@dataclass(frozen=True)
class Learned(Uniform):
    """Trained from a uniform start, and kept in order."""

    learned: ClassVar[bool] = True

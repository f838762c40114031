"""What the bandwidths ω start from, and the map that keeps them positive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


class BandwidthInit(ABC):
    """Gives the bandwidths their first values."""

    @abstractmethod
    def value(self, depth: float) -> float:
        """ω > 0 at the start, for a layer at ``depth`` from 0 (first) to 1 (last)."""


@dataclass(frozen=True)
class Constant(BandwidthInit):
    """One ω everywhere. A plain number in the config means this one.

    Args:
        omega: The bandwidth, positive.
    """

    omega: float = 1.0

    def __post_init__(self) -> None:
        if not self.omega > 0:
            raise ValueError(f"a bandwidth is positive, not {self.omega}")

    def value(self, depth: float) -> float:
        """See :meth:`BandwidthInit.value`."""
        return float(self.omega)


@dataclass(frozen=True)
class ByDepth(BandwidthInit):
    """Geometric from the first layer to the last.

    Args:
        first: ω in the first layer.
        last: ω in the last layer.
    """

    first: float = 0.5
    last: float = 2.0

    def __post_init__(self) -> None:
        if not (self.first > 0 and self.last > 0):
            raise ValueError(f"bandwidths are positive, not {self.first} and {self.last}")

    def value(self, depth: float) -> float:
        """See :meth:`BandwidthInit.value`."""
        return float(self.first ** (1 - depth) * self.last**depth)


class PositiveMap(ABC):
    """A smooth bijection from the reals, where the optimizer moves, onto the positive numbers."""

    @abstractmethod
    def forward(self, raw: Tensor) -> Tensor:
        """ω from the raw parameter."""

    @abstractmethod
    def inverse(self, omega: Tensor) -> Tensor:
        """The raw parameter of ω."""


@dataclass(frozen=True)
class Exp(PositiveMap):
    """ω = exp(s): steps are relative. The published choice."""

    def forward(self, raw: Tensor) -> Tensor:
        """See :meth:`PositiveMap.forward`."""
        return raw.exp()

    def inverse(self, omega: Tensor) -> Tensor:
        """See :meth:`PositiveMap.inverse`."""
        return omega.log()


@dataclass(frozen=True)
class Softplus(PositiveMap):
    """ω = log(1 + exp(s)): steps are absolute for large ω, so that it cannot run away."""

    def forward(self, raw: Tensor) -> Tensor:
        """See :meth:`PositiveMap.forward`."""
        return F.softplus(raw)

    def inverse(self, omega: Tensor) -> Tensor:
        """See :meth:`PositiveMap.inverse`."""
        return omega + torch.log(-torch.expm1(-omega))

"""What the bandwidths ω start from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from lrlora.bases.options import number
from lrlora.policies.kind import PolicyKind


class BandwidthInit(ABC):
    """Gives the bandwidths their first values."""

    @abstractmethod
    def value(self, depth: float) -> float:
        """ω > 0 at the start, for a layer at ``depth`` from 0 (first) to 1 (last)."""


BANDWIDTHS: PolicyKind[BandwidthInit] = PolicyKind(
    BandwidthInit,
    field="bandwidth_init",
    group="lrlora.bandwidths",
    check="check_bandwidth_init",
    default=1.0,
    about="What the bandwidths ω start from; a number is one ω everywhere.",
    shorthand=lambda value: Constant(value) if isinstance(value, (int, float)) else None,
)


@BANDWIDTHS.builtin("constant")
@dataclass(frozen=True)
class Constant(BandwidthInit):
    """One ω everywhere. A plain number in the config means this one.

    Args:
        omega: The bandwidth, positive.
    """

    omega: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "omega", number("bandwidth_init", self.omega, above=0))

    def value(self, depth: float) -> float:
        return float(self.omega)


@BANDWIDTHS.builtin("by_depth")
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
        for name, omega in vars(self).items():
            object.__setattr__(self, name, number(f"{name} of bandwidth_init 'by_depth'", omega, above=0))

    def value(self, depth: float) -> float:
        return float(self.first ** (1 - depth) * self.last**depth)

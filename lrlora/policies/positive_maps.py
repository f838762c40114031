"""The maps that keep the bandwidths ω positive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lrlora.policies.kind import PolicyKind


class PositiveMap(ABC):
    """A smooth bijection from the reals, where the optimizer moves, onto the positive numbers."""

    @abstractmethod
    def forward(self, raw: Tensor) -> Tensor:
        """ω from the raw parameter."""

    @abstractmethod
    def inverse(self, omega: Tensor) -> Tensor:
        """The raw parameter of ω."""


POSITIVE_MAPS: PolicyKind[PositiveMap] = PolicyKind(
    PositiveMap,
    field="bandwidth_parameterization",
    group="lrlora.positive_maps",
    check="check_positive_map",
    default="exp",
    about="The map that keeps ω positive.",
)


@POSITIVE_MAPS.builtin("exp")
@dataclass(frozen=True)
class Exp(PositiveMap):
    """ω = exp(s): steps are relative. The published choice."""

    def forward(self, raw: Tensor) -> Tensor:
        return raw.exp()

    def inverse(self, omega: Tensor) -> Tensor:
        return omega.log()


@POSITIVE_MAPS.builtin("softplus")
@dataclass(frozen=True)
class Softplus(PositiveMap):
    """ω = log(1 + exp(s)): steps are absolute for large ω, so that it cannot run away."""

    def forward(self, raw: Tensor) -> Tensor:
        return F.softplus(raw)

    def inverse(self, omega: Tensor) -> Tensor:
        return omega + torch.log(-torch.expm1(-omega))

"""θ as PyTorch modules: the amplitudes, the bandwidths and the grid points of one φ, one module each.

They are modules, and not bare parameters, so that adapters can share one: a shared module stays shared when PEFT casts
it, moves it, or loads into it, where a shared ``nn.Parameter`` would come apart. Each holds one tensor called
``weight``, so a checkpoint names it as it names a LoRA matrix: ``….lrlora_amplitude.weight``. It is a parameter where
it is learned and a buffer where it is not: whatever asks a model for its parameters then finds what can be trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lrlora.policies import PositiveMap

THETA = ("lrlora_amplitude", "lrlora_bandwidth", "lrlora_grid")
"""Where an adapted layer holds the parts of θ, each by adapter."""


class Amplitude(nn.Module):
    """The amplitudes a, as they are.

    Args:
        values: ``(N,)``.
        learned: Whether they will be trained.
    """

    weight: Tensor

    def __init__(self, values: Tensor, learned: bool = True) -> None:
        super().__init__()
        _hold(self, values, learned)

    def forward(self) -> Tensor:
        """a, ``(N,)``."""
        return self.weight


class Bandwidth(nn.Module):
    """The bandwidths ω > 0, through a positive map.

    Args:
        values: ω, ``(N,)``.
        positive: The map.
        learned: Whether they will be trained.
    """

    weight: Tensor

    def __init__(self, values: Tensor, positive: PositiveMap, learned: bool = True) -> None:
        super().__init__()
        self.positive = positive
        _hold(self, positive.inverse(values), learned)

    def forward(self) -> Tensor:
        """ω, ``(N,)``."""
        return self.positive.forward(self.weight)


class GridPoints(nn.Module):
    """The grid points z_i.

    Args:
        points: ``(N,)``, increasing.
        learned: Whether they will be trained: then the weight holds the first point and the logarithms of the gaps, so
            that no step of an optimizer can put them out of order. Else it holds the points.
    """

    weight: Tensor

    def __init__(self, points: Tensor, learned: bool) -> None:
        super().__init__()
        self.learned = learned
        _hold(self, torch.cat([points[:1], points.diff().log()]) if learned else points, learned)

    def forward(self) -> Tensor:
        """The points, ``(N,)``."""
        if not self.learned:
            return self.weight
        return torch.cat([self.weight[:1], self.weight[1:].exp()]).cumsum(0)


def _hold(module: nn.Module, values: Tensor, learned: bool) -> None:
    if learned:
        module.register_parameter("weight", nn.Parameter(values.float()))
    else:
        module.register_buffer("weight", values.float())

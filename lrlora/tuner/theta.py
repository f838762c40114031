"""θ as PyTorch modules: the amplitudes, the bandwidths and the grid points of one φ, one module each.

They are modules, and not bare parameters, so that adapters can share one: a shared module stays shared when PEFT casts
it, moves it, or loads into it, where a shared ``nn.Parameter`` would come apart. Each holds one tensor called
``weight``, so a checkpoint names it as it names a LoRA matrix: ``….lrlora_amplitude.weight``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lrlora.policies.bandwidths import PositiveMap


class Amplitude(nn.Module):
    """The amplitudes a, as they are.

    Args:
        values: ``(N,)``.
    """

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(values.float())

    def forward(self) -> Tensor:
        """a, ``(N,)``."""
        return self.weight


class Bandwidth(nn.Module):
    """The bandwidths ω > 0, through a positive map.

    Args:
        values: ω, ``(N,)``.
        positive: The map.
    """

    def __init__(self, values: Tensor, positive: PositiveMap) -> None:
        super().__init__()
        self.positive = positive
        self.weight = nn.Parameter(positive.inverse(values).float())

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

    def __init__(self, points: Tensor, learned: bool) -> None:
        super().__init__()
        self.learned = learned
        if learned:
            points = torch.cat([points[:1], points.diff().log()])
        self.weight = nn.Parameter(points.float(), requires_grad=learned)

    def forward(self) -> Tensor:
        """The points, ``(N,)``."""
        if not self.learned:
            return self.weight
        return torch.cat([self.weight[:1], self.weight[1:].exp()]).cumsum(0)

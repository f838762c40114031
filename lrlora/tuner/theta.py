"""The parameters of an adapter in one layer as PyTorch modules: the factors of BA, and the parts of θ.

They are modules, and not bare parameters, for two reasons. PEFT and libraries built on it find adapters by
``.adapter_name.`` in parameter names, as in ``….lrlora_A.default.weight``. And a shared module stays shared when PEFT
casts it, moves it, or loads into it, where a shared ``nn.Parameter`` would come apart. Each module holds one tensor
called ``weight``: a parameter if it is learned, else a buffer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lrlora.policies import PositiveMap

FACTORS = ("lrlora_A", "lrlora_B")
"""Where an adapted layer holds A and B, by adapter."""

THETA = ("lrlora_amplitude", "lrlora_bandwidth", "lrlora_grid", "lrlora_shape")
"""Where an adapted layer holds the parts of θ, each by adapter. Only some bases have the last one."""


class Part(nn.Module):
    """A part of an adapter in one layer.

    Attributes:
        weight: What is trained, or held fixed.
    """

    weight: Tensor

    def _hold(self, values: Tensor, learned: bool) -> None:
        if learned:
            self.register_parameter("weight", nn.Parameter(values.float()))
        else:
            self.register_buffer("weight", values.float())


class Factor(Part):
    """A or B.

    Args:
        rows, columns: Of the matrix.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, columns))


class Amplitude(Part):
    """The amplitudes a, as they are.

    Args:
        values: ``(N,)``.
        learned: Whether they will be trained.
    """

    def __init__(self, values: Tensor, learned: bool = True) -> None:
        super().__init__()
        self._hold(values, learned)

    def forward(self) -> Tensor:
        """a, ``(N,)``."""
        return self.weight


class Bandwidth(Part):
    """The bandwidths ω > 0, through a positive map.

    Args:
        values: ω, ``(N,)``.
        positive: The map.
        learned: Whether they will be trained.
    """

    def __init__(self, values: Tensor, positive: PositiveMap, learned: bool = True) -> None:
        super().__init__()
        self.positive = positive
        self._hold(positive.inverse(values), learned)

    def forward(self) -> Tensor:
        """ω, ``(N,)``."""
        return self.positive.forward(self.weight)


class GridPoints(Part):
    """The grid points z_i.

    Args:
        points: ``(N,)``, increasing.
        learned: Whether they will be trained: then the weight holds the first point and the logarithms of the gaps, so
            that no step of an optimizer can put them out of order. Else it holds the points.
    """

    def __init__(self, points: Tensor, learned: bool) -> None:
        super().__init__()
        self.learned = learned
        self._hold(torch.cat([points[:1], points.diff().log()]) if learned else points, learned)

    def forward(self) -> Tensor:
        """The points, ``(N,)``."""
        if not self.learned:
            return self.weight
        return torch.cat([self.weight[:1], self.weight[1:].exp()]).cumsum(0)


class Shape(Part):
    """The shape parameters that a basis brings along, as they are.

    Args:
        starts: The first value of each, by name, as in :attr:`lrlora.bases.Basis.shape_parameters`.
        count: N.
    """

    def __init__(self, starts: Mapping[str, float], count: int) -> None:
        super().__init__()
        self.names = tuple(starts)
        self._hold(torch.tensor([[start] * count for start in starts.values()]), learned=True)

    def forward(self) -> dict[str, Tensor]:
        """The parameters by name, ``(N,)`` each."""
        return dict(zip(self.names, self.weight.unbind(), strict=True))

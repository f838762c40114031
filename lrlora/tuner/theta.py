"""The parameters of an adapter in one layer as PyTorch modules: the factors of BA, and the parts of θ.

They are modules, and not bare parameters, for two reasons. PEFT and libraries built on it find adapters by
``.adapter_name.`` in parameter names, as in ``….lrlora_A.default.weight``. And a shared module stays shared when PEFT
casts it, moves it, or loads into it, where a shared ``nn.Parameter`` would come apart. Each module holds one tensor
called ``weight``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lrlora.policies import PositiveMap

FACTORS = ("lrlora_A", "lrlora_B")
"""Where an adapted layer holds A and B, by adapter."""

THETA = ("lrlora_amplitude", "lrlora_bandwidth", "lrlora_grid", "lrlora_shape")
"""Where an adapted layer holds the parts of θ, each by adapter. Only some bases have the last one."""


class Part(nn.Module):
    """A part of an adapter in one layer.

    Args:
        values: First values of the weight.
        learned: Whether it will be trained. A weight that is held fixed is a parameter too, so that what copies an
            adapter by the names of its parameters copies all of it.

    Attributes:
        weight: What is trained, or held fixed.
    """

    def __init__(self, values: Tensor, learned: bool = True) -> None:
        super().__init__()
        self.learned = learned
        self.weight = nn.Parameter(values.float(), requires_grad=learned)

    def value(self) -> Any:
        """Returns what the weight stands for."""
        return self.weight

    def forward(self) -> Any:
        """Returns :meth:`value`, as a tensor that stays when the weight is freed, as FSDP does after a call."""
        value = self.value()
        return value.clone() if value is self.weight else value


def value_of(part: nn.Module) -> Any:
    """Returns the value of a part, through a call if something such as FSDP or offloading relies on calls."""
    plain = isinstance(part, Part) and "forward" not in vars(part)
    if plain and not (part._forward_pre_hooks or part._forward_hooks):
        return part.value()  # type: ignore[operator]
    return part()


class Factor(Part):
    """A or B.

    Args:
        rows, columns: Of the matrix.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(torch.empty(rows, columns))


class Amplitude(Part):
    """The amplitudes a, ``(N,)``, as they are."""


class Bandwidth(Part):
    """The bandwidths ω > 0, ``(N,)``, through a positive map.

    Args:
        values: ω, ``(N,)``.
        positive: The map.
        learned: Whether they will be trained.
    """

    def __init__(self, values: Tensor, positive: PositiveMap, learned: bool = True) -> None:
        super().__init__(positive.inverse(values), learned)
        self.positive = positive

    def value(self) -> Tensor:
        """Returns ω, ``(N,)``."""
        return self.positive.forward(self.weight)


class GridPoints(Part):
    """The grid points z_i, ``(N,)``.

    Args:
        points: ``(N,)``, increasing.
        learned: Whether they will be trained: then the weight holds the first point and the logarithms of the gaps, so
            that no step of an optimizer can put them out of order. Else it holds the points.
    """

    def __init__(self, points: Tensor, learned: bool) -> None:
        super().__init__(torch.cat([points[:1], points.diff().log()]) if learned else points, learned)

    def value(self) -> Tensor:
        """Returns the points, ``(N,)``."""
        if not self.learned:
            return self.weight
        steps = torch.cat([self.weight[:1], self.weight[1:].exp()])
        return steps.cumsum(0)


class Shape(Part):
    """The shape parameters that a basis brings along, as they are; the weight is ``(parameters, N)``.

    Args:
        starts: The first value of each, by name, as in :attr:`lrlora.bases.Basis.shape_parameters`.
        count: N.
    """

    def __init__(self, starts: Mapping[str, float], count: int) -> None:
        super().__init__(torch.tensor([[start] * count for start in starts.values()]))
        self.names = tuple(starts)

    def value(self) -> dict[str, Tensor]:
        """Returns the parameters by name, ``(N,)`` each."""
        return dict(zip(self.names, self.weight.unbind(), strict=True))

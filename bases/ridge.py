"""The sigmoidal units of a neural network of one input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lrlora.bases.basis import Properties, ShiftedBasis


@dataclass(frozen=True)
class Ridge(ShiftedBasis):
    """ψ(u) = tanh(u), or the logistic sigmoid: φ is a network of one hidden layer with a unit at every grid point.

    Such sums are dense in the continuous functions on an interval (Cybenko, 1989). The sigmoid is ½ + ½ tanh(u/2):
    where φ is centred, it is tanh with half the amplitude and half the bandwidth, and nothing else.

    Args:
        function: ``"tanh"`` or ``"sigmoid"``.
    """

    function: Literal["tanh", "sigmoid"] = "tanh"

    def __post_init__(self) -> None:
        if self.function not in ("tanh", "sigmoid"):
            raise ValueError(f"the function of a ridge is 'tanh' or 'sigmoid', not {self.function!r}")

    def kernel(self, u: Tensor) -> Tensor:
        """See :meth:`ShiftedBasis.kernel`."""
        return torch.tanh(u) if self.function == "tanh" else torch.sigmoid(u)

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="odd" if self.function == "tanh" else None, smoothness=math.inf)

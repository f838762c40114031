"""Radial basis functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.bases.basis import Properties, ShiftedBasis


@dataclass(frozen=True)
class Gaussian(ShiftedBasis):
    """ψ(u) = exp(−u²/2): a bump of standard deviation 1/ω, analytic, positive, with tails that vanish."""

    def kernel(self, u: Tensor) -> Tensor:
        """See :meth:`ShiftedBasis.kernel`."""
        return torch.exp(-0.5 * u.square())

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="even", smoothness=math.inf)

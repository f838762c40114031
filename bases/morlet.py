"""The real Morlet wavelet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.bases.basis import Properties, ShiftedBasis
from lrlora.bases.options import number


@dataclass(frozen=True)
class Morlet(ShiftedBasis):
    """ψ(u) = (cos(w0·u) − exp(−w0²/2)) exp(−u²/2): a wave packet of about w0/2 oscillations around a grid point.

    The constant makes the integral zero for every w0 (Goupillaud, Grossmann and Morlet, 1984). At w0 = 5 it is 4e-6,
    and Wav-KAN (Bozorgasl and Chen, 2024) leaves it out.

    Args:
        w0: Angular frequency, in radians per unit of u.
    """

    w0: float = 5.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "w0", number("w0 of morlet", self.w0, above=0))

    def kernel(self, u: Tensor) -> Tensor:
        """See :meth:`ShiftedBasis.kernel`."""
        return (torch.cos(self.w0 * u) - math.exp(-0.5 * self.w0**2)) * torch.exp(-0.5 * u.square())

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="even", smoothness=math.inf)

"""Sines of learned frequency."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.bases.basis import Properties, ShiftedBasis
from lrlora.bases.options import number


@dataclass(frozen=True)
class Sine(ShiftedBasis):
    """ψ(u) = sin(w0·u): the frequency w0·ω_i is learned, and with a learned grid the phase −w0·ω_i·z_i as well.

    The sinusoidal units of SIREN (Sitzmann et al., 2020), whose w0 = 30 for inputs in [−1, 1] is 10 on the default
    grid. Where all ω are equal, as they are at the start, the N functions span two dimensions only, sin(w0·ω·z) and
    cos(w0·ω·z): what they can express grows as training drives the bandwidths apart.

    Args:
        w0: Angular frequency at ω = 1, in radians per unit of u.
    """

    w0: float = 10.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "w0", number("w0 of sine", self.w0, above=0))

    def kernel(self, u: Tensor) -> Tensor:
        """See :meth:`ShiftedBasis.kernel`."""
        return torch.sin(self.w0 * u)

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(
            parity="odd",
            period=2 * math.pi / self.w0,
            band_limit=self.w0 / (2 * math.pi),
            smoothness=math.inf,
        )

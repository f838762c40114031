"""The basis of LR-LoRA as published: shifted cardinal sines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.bases.basis import Properties, ShiftedBasis


@dataclass(frozen=True)
class Sinc(ShiftedBasis):
    """ψ(u) = sin(πu) / (πu), with ψ(0) = 1 (LR-LoRA paper, Equation 4).

    Band-limited to the frequencies |ξ| ≤ ω/2, one at its own grid point, not periodic, analytic on the whole line.
    """

    def kernel(self, u: Tensor) -> Tensor:
        """See :meth:`ShiftedBasis.kernel`."""
        # torch.sinc is the same and four times slower in float64, in which engines sample.
        x = math.pi * u
        x = torch.where(x == 0, 1e-20, x)  # the quotient is 1 there, and its derivative 0
        return torch.sin(x) / x

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="even", band_limit=0.5, partition_of_unity=True, smoothness=math.inf)

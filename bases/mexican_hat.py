"""The Ricker wavelet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.bases.basis import Properties, ShiftedBasis


@dataclass(frozen=True)
class MexicanHat(ShiftedBasis):
    """ψ(u) = (1 − u²) exp(−u²/2): a bump between two dips, the second derivative of a Gaussian, negated.

    Its integral and its first moment are zero: what it adds around a grid point it takes back beside it. One of the
    wavelets of Wav-KAN (Bozorgasl and Chen, 2024).
    """

    def kernel(self, u: Tensor) -> Tensor:
        """See :meth:`ShiftedBasis.kernel`."""
        root = torch.exp(-0.25 * u.square())  # of the Gaussian: zero where u² is infinite, and then so is u times it
        return root.square() - (u * root).square()

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="even", smoothness=math.inf)

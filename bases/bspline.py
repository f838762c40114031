"""Cardinal B-splines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.bases.basis import Properties, ShiftedBasis
from lrlora.bases.options import integer


@dataclass(frozen=True)
class BSpline(ShiftedBasis):
    """The centred cardinal B-spline of degree p: a piecewise polynomial with p − 1 continuous derivatives.

    Exactly zero for |u| ≥ (p + 1)/2; its integer shifts sum to one. From truncated powers (de Boor, "A Practical Guide
    to Splines", chapter IX), written in −|u| so that outside the support every term, and not only their sum, is zero.

    Args:
        degree: The degree p, at least 1.
    """

    degree: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "degree", integer("degree of bspline", self.degree, least=1))

    def kernel(self, u: Tensor) -> Tensor:
        """See :meth:`ShiftedBasis.kernel`."""
        p = self.degree
        from_edge = (p + 1) / 2 - u.abs()  # positive inside the support, at most (p + 1)/2
        total = torch.zeros_like(u)
        for k in range((p + 2) // 2 + 1):
            if k <= (p + 1) / 2:
                total = total + (-1) ** k * math.comb(p + 1, k) * (from_edge - k).clamp_min(0) ** p
        return total / math.factorial(p)

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(
            parity="even", support=(self.degree + 1) / 2, partition_of_unity=True, smoothness=self.degree - 1
        )

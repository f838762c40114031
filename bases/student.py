"""Student's t: tails whose weight each function learns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrlora.bases.basis import Properties, ShiftedBasis


@dataclass(frozen=True)
class Student(ShiftedBasis):
    """(1 + u²/ν)^(−(ν + 1)/2): Student's t density with ν degrees of freedom, scaled to 1 at its centre.

    ν is learned per function, as log ν, from ν = 3. It is 1/(1 + u²) at ν = 1 and tends to exp(−u²/2) as ν grows; up to
    the scale of u it is the rational quadratic kernel (Rasmussen and Williams, "Gaussian Processes for Machine
    Learning", Equation 4.19). Its poles are at u = ±i√ν, so it is analytic on the whole line.
    """

    shape_parameters: ClassVar[Mapping[str, float]] = {"log_nu": math.log(3.0)}

    def kernel(self, u: Tensor, *, log_nu: Tensor) -> Tensor:
        """See :meth:`ShiftedBasis.kernel`."""
        # Not u² / ν: its gradient in ν has u² / ν², which overflows sooner.
        return torch.exp(-0.5 * (log_nu.exp() + 1) * torch.log1p(u.square() * torch.exp(-log_nu)))

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="even", smoothness=math.inf)

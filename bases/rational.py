"""Rational functions, as partial fractions with learned poles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.bases.basis import Basis, Properties


@dataclass(frozen=True)
class Rational(Basis):
    """By turns 1/(1 + u²) and u/(1 + u²): partial fractions with the poles z_i ± i/ω_i.

    Every rational function with real coefficients, no real pole, simple poles and a numerator of lower degree than its
    denominator is a sum Σ_j (α_j + β_j u_j)/(1 + u_j²), one term per conjugate pair of poles: an [n−1/n] Padé
    approximant is of this form with n/2 terms. Here two neighbours share a pair of poles where their z and ω agree; in
    general each has its own, so that N functions span the sums over N pairs of poles of which every other has α_j = 0
    and the rest β_j = 0. No pole is ever real, since ω is finite: analytic on the whole line, with no denominator to
    be kept from zero as in P/(1 + |Q|) (Molina, Schramowski and Kersting, "Padé Activation Units", 2020).
    """

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        """See :meth:`Basis.matrix`."""
        u = bandwidth * (z.unsqueeze(-1) - grid)
        is_even = torch.arange(bandwidth.shape[-1], device=bandwidth.device) % 2 == 0
        return torch.where(is_even, 1.0, u) / (1 + u.square())

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="definite", smoothness=math.inf)

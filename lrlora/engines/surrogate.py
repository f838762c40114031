"""Surrogates: a cheap scalar function that stands for f on the range that BA takes, and is linear in few coefficients.

The coefficients are a differentiable function of θ with one entry per degree or per table cell; the entries of ΔW
meet the coefficients only. So θ never meets the m·n entries, and the cost of an update does not depend on N.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lrlora.transfer import TransferFunction

MIN_RANGE = 1e-3
"""Below this range of z every φ is nearly a straight line; a wider surrogate costs nothing and divides by no zero."""

SAFETY = 0.25
"""The share of the tolerance that f and its features may use: gradients of θ, sums that partly cancel, magnify it."""


class Surrogate(ABC):
    """A function of t = z/ρ on [−1, 1], linear in ``coefficients``.

    The methods take ``coefficients`` as an argument, detached and in the dtype of the entries, since they run inside an
    autograd function that treats the coefficients as one of its inputs.
    """

    def __init__(self, rho: float, coefficients: Tensor) -> None:
        self.rho = rho
        self.coefficients = coefficients

    @abstractmethod
    def value(self, t: Tensor, coefficients: Tensor) -> Tensor:
        """The value at every entry of ``t``; ``t`` is left as it is."""

    @abstractmethod
    def slope(self, t: Tensor, coefficients: Tensor) -> Tensor:
        """The derivative in t at every entry of ``t``."""

    @abstractmethod
    def pullback(self, t: Tensor, gradient: Tensor, coefficients: Tensor) -> Tensor:
        """Σ gradient · ∂value/∂coefficients over all entries of ``t``, shaped as the coefficients are."""

    @abstractmethod
    def describe(self) -> str:
        """In a few words."""


def range_of(A: Tensor, B: Tensor, transfer: TransferFunction) -> tuple[float, float]:
    """A bound on |s_in · BA|, and the root mean square of its entries, without forming BA.

    The bound is the largest row norm of B times the largest column norm of A (Cauchy-Schwarz). The mean square is
    tr(BᵀB AAᵀ) / mn. Returns ``(rho, rms)``; values that are not finite come back as they are.
    """
    with torch.no_grad():
        a, b = A.detach().double(), B.detach().double()
        bound = torch.linalg.vector_norm(b, dim=1).max() * torch.linalg.vector_norm(a, dim=0).max()
        mean_square = ((b.T @ b) * (a @ a.T)).sum().clamp_min(0) / (b.shape[0] * a.shape[1])
        rho, rms = (transfer.input_scale * torch.stack([bound, mean_square.sqrt()])).tolist()
    # A few ulps of room: float32 rounding of the products may pass the bound.
    return max(rho * (1 + 1e-5), MIN_RANGE), rms

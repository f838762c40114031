"""Surrogates: a cheap scalar function that stands for f on the range that BA takes.

Its coefficients are linear in the values of f at a few points, so θ never meets the m·n entries of ΔW: they meet the
coefficients only, and the cost of an update does not depend on N.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lrlora.engines.sampling import ThetaGradient

SAFETY = 0.4
"""The share of the tolerance that a fit may use: gradients are sums that partly cancel, which magnifies its error."""


class Split(NamedTuple):
    """What rounding the gradient product is kept from: the best straight line, and the first moments.

    Gradients through a straight line need no dense product: they are thin ones, as LoRA's, and so are the moments of
    order 0, 1 and, for small ranks, 2. They are taken in full precision, and rounding disturbs the rest only.

    Attributes:
        slope: Of the line.
        correction: ``(moments, exact)``: by how much each moment is off, from how much the exact ones are.
    """

    slope: float
    correction: Tensor


class Surrogate(ABC):
    """A function of t = z/ρ on [−1, 1] that stands for s_out · f.

    The passes work in place, on blocks that lie in scratch memory, since every fresh block costs as much as a pass.

    Attributes:
        rho: ρ.
        split: For a surrogate whose gradients may be taken from a rounded product gyᵀx; None where they may not.
        factored: Whether layers evaluate it through monomials of A and B, and not entry by entry.
        theta: The gradient of θ from that of the samples; None where no gradient was in sight when it was fitted.
    """

    def __init__(self, rho: float, theta: ThetaGradient | None) -> None:
        self.rho = rho
        self.theta = theta
        self.split: Split | None = None
        self.factored = False

    @abstractmethod
    def evaluate_(self, t: Tensor, base: Tensor | None) -> None:
        """Replace every entry of the block ``t`` by its value, plus that of ``base``."""

    def evaluate(self, B: Tensor, A: Tensor, base: Tensor | None, out: Tensor) -> None:
        """The same for t = BA, which goes to ``out``."""
        torch.mm(B, A, out=out)
        self.evaluate_(out, base)

    @abstractmethod
    def pull_back_(self, t: Tensor, base: Tensor | None, gradient: Tensor, *, less_linear: bool = False) -> Tensor:
        """One pass back over a block.

        Args:
            t: Becomes what :meth:`evaluate_` makes of it if there is a ``base``, and is undefined after if not.
            base: See there.
            gradient: With respect to the value, shaped as ``t``; becomes that with respect to t.
            less_linear: Leave out of the latter what comes from the :class:`Split`.

        Returns:
            Σ gradient · ∂value/∂coefficients over the block, in float64: as many as :meth:`to_samples` takes.
        """

    def pull_back(
        self, B: Tensor, A: Tensor, base: Tensor | None, gradient: Tensor, out: Tensor, *, less_linear: bool = False
    ) -> Tensor:
        """The same for t = BA; what becomes of ``t`` goes to ``out``."""
        torch.mm(B, A, out=out)
        return self.pull_back_(out, base, gradient, less_linear=less_linear)

    @abstractmethod
    def to_samples(self, moments: Tensor) -> tuple[Tensor, Tensor | None]:
        """From what :meth:`pull_back_` summed to gradients with respect to f(z_k) − f(0), and f(0) if not centred."""

    def theta_gradient(
        self, moments: Tensor, wanted: Sequence[bool], dtypes: Sequence[torch.dtype]
    ) -> tuple[Tensor | None, ...]:
        """Gradients of a, ω and the grid points, from the moments; None for those not ``wanted``."""
        assert self.theta is not None, "fitted for evaluation only"
        amplitude, bandwidth, grid = wanted
        found = self.theta(*self.to_samples(moments), amplitude=amplitude, bandwidth=bandwidth, grid=grid)
        return tuple(None if g is None else g.to(dtype) for g, dtype in zip(found, dtypes, strict=True))

    @abstractmethod
    def describe(self) -> str:
        """In a few words."""

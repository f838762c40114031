"""The product of two bases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lrlora.bases.basis import Properties
from lrlora.bases.pair import Pair
from lrlora.bases.parts import claims_within, common_period, least_smooth, shorter


@dataclass(frozen=True)
class Product(Pair):
    """ψ_i = ψ¹_i · ψ²_i, function by function: the same z_i and ω_i for both. Also written ``first * second``.

    A sinc times a Gaussian is a sinc whose tails vanish, a sine times a Gaussian is a Gabor wavelet.

    Args:
        first: A basis: an instance, a spec, or ``{"basis": name, option: value}``.
        second: Another.
        bound: Passed to the parts that take one and do not say themselves.
    """

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor, **shape: Tensor) -> Tensor:
        """See :meth:`Basis.matrix`."""
        first, second = self.matrices(z, grid, bandwidth, shape)
        return first * second

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        p, q = (claims_within(part, self) for part in self.parts)
        return Properties(
            parity=_parity(p.parity, q.parity),
            period=common_period(p.period, q.period),
            support=min((s for s in (p.support, q.support) if s is not None), default=None),
            band_limit=None if p.band_limit is None or q.band_limit is None else p.band_limit + q.band_limit,
            smoothness=least_smooth(p.smoothness, q.smoothness),
            interval=shorter(p.interval, q.interval),
        )


Parity = Literal["even", "odd", "definite"]


def _parity(first: Parity | None, second: Parity | None) -> Parity | None:
    if first is None or second is None:
        return None
    if "definite" in (first, second):
        return "definite"
    return "even" if first == second else "odd"

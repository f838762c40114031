"""The sum of two bases."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lrlora.bases.basis import Properties
from lrlora.bases.pair import Pair
from lrlora.bases.parts import claims_within, common_period, least_smooth, shorter


@dataclass(frozen=True)
class Sum(Pair):
    """ψ_i = ψ¹_i + ψ²_i, function by function: the same z_i, ω_i and a_i for both. Also written ``first + second``.

    It is one new function per grid point, and not both families side by side, so it has no more parameters than either.

    Args:
        first: A basis: an instance, a spec, or ``{"basis": name, option: value}``.
        second: Another.
        bound: Passed to the parts that take one and do not say themselves.
    """

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor, **shape: Tensor) -> Tensor:
        """See :meth:`Basis.matrix`."""
        first, second = self.matrices(z, grid, bandwidth, shape)
        return first + second

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`. Of parities that are only definite, one may be even where the other is odd."""
        p, q = (claims_within(part, self) for part in self.parts)
        return Properties(
            parity=p.parity if p.parity == q.parity and p.parity != "definite" else None,
            period=common_period(p.period, q.period),
            support=None if p.support is None or q.support is None else max(p.support, q.support),
            band_limit=None if p.band_limit is None or q.band_limit is None else max(p.band_limit, q.band_limit),
            smoothness=least_smooth(p.smoothness, q.smoothness),
            polynomial=p.polynomial and q.polynomial,
            interval=shorter(p.interval, q.interval),
        )

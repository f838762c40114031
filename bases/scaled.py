"""A basis at another height and width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, replace
from typing import cast

from torch import Tensor

from lrlora.bases.basis import Basis, Properties
from lrlora.bases.options import number
from lrlora.bases.parts import Part, create_part


@dataclass(frozen=True)
class Scaled(Basis):
    """c · ψ_i(z; z_i, s·ω_i): every function times ``factor`` = c, and at ``bandwidth`` = s times its bandwidth.

    The grid points stay where they are, so that a shifted kernel becomes c · ψ(s·u). Also written ``c * basis`` for
    s = 1. By itself it is a start of a and ω in other units; its use is in sums and products, as in
    ``Sinc() + Scaled(Sinc(), 0.5, bandwidth=4.0)``, two scales at once.

    Args:
        part: A basis: an instance, a spec, or ``{"basis": name, option: value}``.
        factor: c, finite and not zero.
        bandwidth: s, positive.
        bound: Passed to a part that takes one and does not say itself.
    """

    part: Part
    factor: float = 1.0
    bandwidth: float = 1.0
    bound: InitVar[float | None] = None

    def __post_init__(self, bound: float | None) -> None:
        object.__setattr__(self, "factor", number("factor of scaled", self.factor))
        object.__setattr__(self, "bandwidth", number("bandwidth of scaled", self.bandwidth, above=0))
        if self.factor == 0:
            raise ValueError("factor of scaled must not be 0")
        object.__setattr__(self, "part", create_part("scaled", "part", self.part, bound))

    @property
    def basis(self) -> Basis:
        """The part, made."""
        return cast("Basis", self.part)

    @property
    def uses_grid(self) -> bool:  # type: ignore[override]  # of the part, and so of the instance
        """Whether the grid points matter to the part."""
        return self.basis.uses_grid

    @property
    def shape_parameters(self) -> Mapping[str, float]:  # type: ignore[override]  # of the part, and so of the instance
        """Those of the part."""
        return self.basis.shape_parameters

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor, **shape: Tensor) -> Tensor:
        """See :meth:`Basis.matrix`."""
        return self.factor * self.basis.matrix(z, grid, self.bandwidth * bandwidth, **shape)

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        p, s = self.basis.properties(), self.bandwidth
        return replace(
            p,
            period=None if p.period is None else p.period / s,
            support=None if p.support is None else p.support / s,
            band_limit=None if p.band_limit is None else p.band_limit * s,
            interval=None if p.interval is None else p.interval / s,
            partition_of_unity=p.partition_of_unity and self.factor == 1 and s == 1,
        )

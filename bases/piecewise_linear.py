"""Hat functions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lrlora.bases.basis import Properties, ShiftedBasis


@dataclass(frozen=True)
class PiecewiseLinear(ShiftedBasis):
    """ψ(u) = max(0, 1 − |u|): at ω = 1 / (grid spacing), φ joins its values at the grid points by straight lines.

    The same as a B-spline of degree 1, in fewer operations. At the default ω = 1 the hats are as wide as 2 units of z,
    and each covers many grid points.
    """

    def kernel(self, u: Tensor) -> Tensor:
        """See :meth:`ShiftedBasis.kernel`."""
        return (1 - u.abs()).clamp_min(0)

    def properties(self) -> Properties:
        """See :meth:`Basis.properties`."""
        return Properties(parity="even", support=1.0, partition_of_unity=True, smoothness=0)

"""The coefficients of a polynomial or a table as a differentiable function of θ.

All forms are linear in the values of f at a few points, c = M · f_θ(z_1 … z_p): θ meets p points and never the m · n
entries, and its gradient is autograd's, through a plain call of the basis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from lrlora.transfer import TransferFunction


@dataclass(frozen=True)
class Coefficients:
    """c = M · s_out · f(points).

    Attributes:
        points: Where φ is evaluated, in units of z, ``(p,)``. If the update is centred, 0 is appended.
        matrix: From φ there to c, ``(k, p)``: s_out · M, with a last column that subtracts φ(0); None for s_out times
            the identity.
        linear: What λz contributes, ``(k,)``; None without a linear path.
        scale: s_out.
        centered: Whether the last point is 0 and its value is subtracted.
    """

    points: Tensor
    matrix: Tensor | None
    linear: Tensor | None
    scale: float
    centered: bool

    @classmethod
    def made(
        cls, points: Tensor, matrix: Tensor | None, *, scale: float, residual: bool, centered: bool
    ) -> Coefficients:
        """Returns c = M · s_out · f(points).

        Args:
            points: ``(p,)``, float64, on the CPU.
            matrix: M, ``(k, p)``, float64; None: the identity.
            scale: s_out.
            residual: Whether f has the linear path λz.
            centered: Whether φ(0) is subtracted.
        """
        scaled = None if matrix is None else scale * matrix
        linear = None
        if residual:
            linear = scale * points if scaled is None else scaled @ points
        if centered:
            points = torch.cat([points, points.new_zeros(1)])
            if scaled is not None:
                scaled = torch.cat([scaled, -scaled.sum(1, keepdim=True)], dim=1)
        return cls(points, scaled, linear, scale, centered)

    def __call__(self, transfer: TransferFunction, dtype: torch.dtype) -> Tensor:
        """Returns c, ``(k,)``, in ``dtype``: computed in float64 where the device has it, else in float32."""
        transfer = transfer.to(self.points.dtype)
        phi = transfer.features(self.points) @ transfer.amplitude
        if self.matrix is None:
            phi = self.scale * (phi[:-1] - phi[-1] if self.centered else phi)
            return (phi if self.linear is None else phi + self.linear).to(dtype)
        if self.linear is None:
            return (self.matrix @ phi).to(dtype)
        return torch.addmv(self.linear, self.matrix, phi).to(dtype)

    def to(self, device: torch.device | str) -> Self:
        """Returns the same on a device, in float32 if the device has no float64."""
        dtype = widest_float(device)
        moved: dict[str, Any] = {
            name: None if value is None else value.to(device=device, dtype=dtype)
            for name, value in (("points", self.points), ("matrix", self.matrix), ("linear", self.linear))
        }
        return replace(self, **moved)


def widest_float(device: torch.device | str) -> torch.dtype:
    """Returns float64, or float32 for devices that have no float64 (Apple's MPS)."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64

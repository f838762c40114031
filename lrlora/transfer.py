"""The transfer function: the scalar function that turns the entries of BA into the entries of the update."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lrlora.bases import Basis


@dataclass(frozen=True)
class TransferFunction:
    """f(z) = λz + φ(z) − φ(0) with φ(z) = Σ a_i ψ_i(z; z_i, ω_i); the update is ΔW = s_out · f(s_in · BA).

    With ``residual=False``, ``centered=False`` and both scales 1 this is Equation 4 of the LR-LoRA paper. An immutable
    value that is assembled anew from the adapter's parameters for each evaluation; it holds no state of its own.

    Attributes:
        basis: The functions ψ.
        amplitude: a, ``(N,)``.
        bandwidth: ω > 0, ``(N,)``.
        grid: Grid points, ``(N,)``.
        input_scale: s_in > 0.
        output_scale: s_out.
        residual: Whether the linear path is there (λ = 1).
        centered: Whether φ(0) is subtracted, so that entries of BA that are zero stay zero.
    """

    basis: Basis
    amplitude: Tensor
    bandwidth: Tensor
    grid: Tensor
    input_scale: float = 1.0
    output_scale: float = 1.0
    residual: bool = True
    centered: bool = True

    def features(self, z: Tensor) -> Tensor:
        """ψ_i(z), less ψ_i(0) where centred: what the amplitudes weigh. ``(...)`` to ``(..., N)``.

        Raises:
            ValueError: The basis returned another shape.
        """
        origin = torch.zeros((), dtype=z.dtype, device=z.device)
        values = checked_features(self.basis, z, self.grid, self.bandwidth)
        return values - self.basis.matrix(origin, self.grid, self.bandwidth) if self.centered else values

    def __call__(self, z: Tensor) -> Tensor:
        """f(z), elementwise, by the definition: the memory is N times that of ``z``."""
        return self.combine(z, self.features(z))

    def combine(self, z: Tensor, features: Tensor) -> Tensor:
        """f from features that were computed before."""
        phi = features @ self.amplitude
        return z + phi if self.residual else phi

    def to(self, dtype: torch.dtype) -> TransferFunction:
        """The same function with its parameters cast; gradients flow through the cast."""
        return replace(
            self,
            amplitude=self.amplitude.to(dtype),
            bandwidth=self.bandwidth.to(dtype),
            grid=self.grid.to(dtype),
        )


def checked_features(basis: Basis, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
    """ψ_i(z), ``(..., N)``.

    Raises:
        ValueError: The basis returned another shape.
    """
    values = basis.matrix(z, grid, bandwidth)
    if values.shape != (*z.shape, len(grid)):
        raise ValueError(
            f"basis {basis!r} returned the shape {tuple(values.shape)} for z of shape {tuple(z.shape)} and "
            f"{len(grid)} grid points; it must be {(*z.shape, len(grid))}"
        )
    return values

"""The transfer function: the scalar function that turns the entries of BA into the entries of the update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lrlora.bases import Basis


@dataclass(frozen=True)
class TransferFunction:
    """f(z) = λz + φ(z) − φ(0) with φ(z) = Σ a_i ψ_i(z; z_i, ω_i); the update is ΔW = s_out · f(s_in · BA).

    With ``residual=False``, ``centered=False`` and both scales 1 this is Equation 4 of the LR-LoRA paper. An immutable
    value, assembled from the adapter's parameters for each evaluation.

    Attributes:
        basis: The functions ψ.
        amplitude: a, ``(N,)``.
        bandwidth: ω > 0, ``(N,)``.
        grid: Grid points, ``(N,)``.
        input_scale: s_in > 0.
        output_scale: s_out.
        residual: Whether the linear path is there (λ = 1).
        centered: Whether φ(0) is subtracted, so that entries of BA that are zero stay zero.
        shape: Learned shape parameters of the basis by name, ``(N,)`` each.
    """

    basis: Basis
    amplitude: Tensor
    bandwidth: Tensor
    grid: Tensor
    input_scale: float = 1.0
    output_scale: float = 1.0
    residual: bool = True
    centered: bool = True
    shape: Mapping[str, Tensor] = field(default_factory=dict)

    def features(self, z: Tensor) -> Tensor:
        """Returns ψ_i(z), ``(...)`` to ``(..., N)``.

        Raises:
            ValueError: If the basis returns another shape.
        """
        values = self.basis.matrix(z, self.grid, self.bandwidth, **self.shape)
        if values.shape != (*z.shape, len(self.grid)):
            raise ValueError(
                f"basis {self.basis!r} returned the shape {tuple(values.shape)} for z of shape {tuple(z.shape)} and "
                f"{len(self.grid)} grid points; it must be {(*z.shape, len(self.grid))}"
            )
        return values

    def __call__(self, z: Tensor) -> Tensor:
        """Returns f(z), elementwise, by the definition; the memory is N times that of ``z``."""
        features = self.features(z)
        if self.centered:
            # Subtracted from the features and not from the sum: what cancels is then small.
            features = features - self.features(torch.zeros((), dtype=z.dtype, device=z.device))
        phi = features @ self.amplitude
        return z + phi if self.residual else phi

    def to(self, dtype: torch.dtype) -> TransferFunction:
        """Returns the same function with its parameters cast; gradients flow through the cast."""
        return replace(
            self,
            amplitude=self.amplitude.to(dtype),
            bandwidth=self.bandwidth.to(dtype),
            grid=self.grid.to(dtype),
            shape={name: value.to(dtype) for name, value in self.shape.items()},
        )

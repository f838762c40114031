"""The points at which a basis is asked, and how a message names one of them.

Points are drawn once, from a fixed seed: a check gives the same answer at every run. They are generic, so that a kink,
which a basis may have, lies on none of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lrlora.bases import Basis
from lrlora.testing.checks import ConformanceError

BOUND = 3.0
"""Half-width of the interval of the grid points, in units of z: the default of a config."""

SYMBOLS = {"z": "z", "grid": "z_i", "bandwidth": "ω"}
"""What messages call the arguments of :meth:`Basis.matrix`."""


class Arguments(NamedTuple):
    """The arguments of :meth:`Basis.matrix`.

    Attributes:
        z: ``(K,)``, or any other shape.
        grid: ``(N,)``.
        bandwidth: ``(N,)``.
    """

    z: Tensor
    grid: Tensor
    bandwidth: Tensor

    def to(self, dtype: torch.dtype | None = None, device: str | None = None) -> Arguments:
        """A copy of them in another dtype or on another device."""
        return Arguments(*(each.to(device=device, dtype=dtype, copy=True) for each in self))

    def leaves(self) -> Arguments:
        """A copy of them that collects gradients."""
        return Arguments(*(each.detach().clone().requires_grad_() for each in self))


def generic(n: int, points: int = 12, seed: int = 0) -> Arguments:
    """Arguments at random: z a little wider than the grid interval, ω of order one; float64."""
    generator = torch.Generator(device="cpu").manual_seed(seed)

    def uniform(count: int, low: float, high: float) -> Tensor:
        return torch.empty(count, dtype=torch.float64, device="cpu").uniform_(low, high, generator=generator)

    return Arguments(uniform(points, -3.5, 3.5), uniform(n, -BOUND, BOUND).sort().values, uniform(n, 0.4, 1.8))


def uniform_grid(n: int) -> Tensor:
    """Grid points as the grid ``uniform`` has them, ``(N,)``, float64."""
    return torch.linspace(-BOUND, BOUND, n, dtype=torch.float64) if n > 1 else torch.zeros(1, dtype=torch.float64)


def evaluate(basis: Basis, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
    """ψ_i(z), ``(..., N)``.

    Raises:
        ConformanceError: The result is no tensor, or has another shape.
    """
    values = basis.matrix(z, grid, bandwidth)
    if not isinstance(values, Tensor):
        raise ConformanceError(f"matrix(z) returns a {type(values).__name__}; it must return a tensor")
    expected = (*z.shape, len(grid))
    if values.shape != expected:
        raise ConformanceError(
            f"matrix(z) of shape {tuple(z.shape)} with {len(grid)} grid points has shape {tuple(values.shape)}; "
            f"it must be {expected}"
        )
    return values


def u_of(basis: Basis, arguments: Arguments) -> Tensor:
    """u at every point and function, ``(..., N)``: ω_i (z − z_i), or ω_i z where grid points play no part."""
    z = arguments.z.unsqueeze(-1)
    return arguments.bandwidth * (z - arguments.grid if basis.uses_grid else z)


def place(basis: Basis, arguments: Arguments, where: tuple[int, int]) -> str:
    """A point and a function, for a message: ``"z = 0.5 (u = 0) in ψ_3"``.

    Args:
        basis: The basis.
        arguments: z of shape ``(K,)``.
        where: Index of the point, and of the function from zero.
    """
    k, i = where
    return f"z = {float(arguments.z[k]):.5g} (u = {float(u_of(basis, arguments)[k, i]):.5g}) in ψ_{i + 1}"


def first(wrong: Tensor) -> tuple[int, int] | None:
    """The first place where a ``(K, N)`` tensor is true, or None."""
    found = wrong.nonzero()
    return (int(found[0, 0]), int(found[0, 1])) if len(found) else None


def worst(error: Tensor) -> tuple[int, int]:
    """The place of the largest entry of a ``(K, N)`` tensor."""
    k, i = divmod(int(error.argmax()), error.shape[1])
    return k, i

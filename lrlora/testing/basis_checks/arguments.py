"""The points at which bases are asked, and what comes back.

Points are drawn once, from a fixed seed, so that a check gives the same answer at every run. They are generic: a kink,
which a basis may have, lies on none of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrlora.bases import Basis
from lrlora.testing.checks import ConformanceError, demand, one_line, short

F32, F64 = torch.float32, torch.float64
BOUND = 3.0
"""Half-width of the interval of the grid points, in units of z: the default of a config."""
SYMBOLS = {"z": "z", "grid": "z_i", "bandwidth": "ω"}
"""What messages call the arguments of :meth:`Basis.matrix`."""


class Arguments(NamedTuple):
    """The arguments of :meth:`Basis.matrix`: z of any shape, grid points ``(N,)`` and bandwidths ``(N,)``."""

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
        return torch.empty(count, dtype=F64, device="cpu").uniform_(low, high, generator=generator)

    return Arguments(uniform(points, -3.5, 3.5), uniform(n, -BOUND, BOUND).sort().values, uniform(n, 0.4, 1.8))


def uniform_grid(n: int) -> Tensor:
    """Grid points as the grid ``uniform`` has them, ``(N,)``, float64."""
    return torch.linspace(-BOUND, BOUND, n, dtype=F64) if n > 1 else torch.zeros(1, dtype=F64)


def uniform(z: Tensor, n: int, bandwidth: float = 1.0) -> Arguments:
    """These points, a uniform grid and one bandwidth."""
    return Arguments(z, uniform_grid(n), torch.full((n,), bandwidth, dtype=F64))


def evaluate(basis: Basis, at: Arguments, **shape: Tensor) -> Tensor:
    """ψ_i(z), ``(..., N)``, with the given shape parameters.

    Raises:
        ConformanceError: ``matrix`` raises, or the result is no tensor or has another shape.
    """
    z, count = at.z, len(at.grid)
    try:
        values: Any = basis.matrix(*at, **shape)
    except Exception as error:
        raise ConformanceError(
            f"matrix(z) of shape {tuple(z.shape)} with strides {z.stride()}, {short(z.dtype)}, and {count} grid points "
            f"raises {one_line(error)}"
        ) from error
    demand(isinstance(values, Tensor), f"matrix(z) returns a {type(values).__name__}; it must return a tensor")
    expected = (*z.shape, count)
    given = f"matrix(z) of shape {tuple(z.shape)} with {count} grid points"
    demand(values.shape == expected, f"{given} has shape {tuple(values.shape)}; it must be {expected}")
    return values  # type: ignore[no-any-return]


def u_of(basis: Basis, at: Arguments) -> Tensor:
    """u at every point and function, ``(..., N)``: ω_i (z − z_i), or ω_i z where grid points play no part."""
    z = at.z.unsqueeze(-1)
    return at.bandwidth * (z - at.grid if basis.uses_grid else z)


def same(one: Tensor, other: Tensor) -> Tensor:
    """Where two results are the same to the bit; NaN is NaN."""
    return (one == other) | (one.isnan() & other.isnan())


def everywhere(holds: Tensor, message: str, basis: Basis, at: Arguments, **values: Any) -> None:
    """Raise at the first point and function where something does not hold.

    Args:
        holds: ``(K, N)``.
        message: With the fields ``{place}``, ``{i}`` (from one), and those of ``values``.
        basis: The basis.
        at: z of shape ``(K,)``.
        values: Tensors ``(K, N)``, of which the entry is shown, and anything else.

    Raises:
        ConformanceError: The message, with the place as ``z = 0.5 (u = 0) in ψ_3``.
    """
    wrong = (~holds).nonzero()
    if len(wrong):
        k, i = wrong[0].tolist()
        place = f"z = {float(at.z[k]):.5g} (u = {float(u_of(basis, at)[k, i]):.5g}) in ψ_{i + 1}"
        shown = {name: float(one[k, i]) if isinstance(one, Tensor) else one for name, one in values.items()}
        raise ConformanceError(message.format(place=place, i=i + 1, **shown))

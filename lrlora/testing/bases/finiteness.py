"""Values and gradients are finite wherever training may take an entry of BA or a bandwidth.

Polynomials grow, and no evaluation mends that: a basis that claims to be one is asked far off for few functions only,
and for many only where the grid interval is.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lrlora.bases import Basis
from lrlora.testing.bases.inputs import SYMBOLS, Arguments, evaluate, first, generic, place, uniform_grid
from lrlora.testing.checks import ConformanceError

FEW, MANY = 7, 50
FAR = (10.0, 1e2, 1e3, 1e4)
"""Distances from the origin, in units of z, to which a diverging or badly scaled adapter gets."""


def check_finite_at_grid_points(basis: Basis) -> None:
    """Values and gradients are finite where u is 0 exactly, and next to it."""
    for n in (1, FEW, MANY):
        grid = uniform_grid(n)
        offsets = torch.tensor([0.0, 1e-20, -1e-20, 1e-6, -1e-3], dtype=torch.float64)
        z = torch.cat([torch.zeros(1, dtype=torch.float64), *(grid + offset for offset in offsets)])
        # On a grid point in the dtype at hand: rounded together with it.
        _check(basis, Arguments(z, grid, torch.ones_like(grid)))


def check_finite_on_the_grid(basis: Basis) -> None:
    """Values and gradients are finite over the whole grid interval, at the simple fractions where pieces meet too."""
    for n in (1, FEW, MANY):
        grid = uniform_grid(n)
        z = torch.linspace(-3.5, 3.5, 57, dtype=torch.float64)  # every eighth, the half and whole numbers among them
        _check(basis, Arguments(z, grid, torch.ones_like(grid)))
        _check(basis, Arguments(z, torch.zeros_like(grid), torch.ones_like(grid)))
        _check(basis, generic(n))


def check_finite_far_off(basis: Basis) -> None:
    """Values and gradients are finite to |z| = 10,000, where a badly scaled adapter gets."""
    far = torch.tensor([sign * distance for distance in FAR for sign in (1, -1)], dtype=torch.float64)
    for n in (FEW,) if _grows(basis) else (1, FEW, MANY):
        grid = uniform_grid(n)
        _check(basis, Arguments(far, grid, torch.ones_like(grid)))


def check_finite_for_any_bandwidth(basis: Basis) -> None:
    """Values and gradients are finite for bandwidths from 1e-6 to 1e4, on the grid and far off."""
    z = torch.cat([generic(1).z, uniform_grid(FEW), torch.tensor([1e4], dtype=torch.float64)])
    if _grows(basis):
        z = z[:-1]
    for bandwidth in (1e-6, 1e-2, 10.0) if _grows(basis) else (1e-6, 1e-2, 10.0, 1e4):
        grid = uniform_grid(FEW)
        _check(basis, Arguments(z, grid, torch.full_like(grid, bandwidth)))


def check_finite_in_bfloat16(basis: Basis) -> None:
    """Values and gradients are finite in bfloat16 too, at the grid points and over the grid interval."""
    for n in (1, FEW, MANY):
        grid = uniform_grid(n)
        z = torch.cat([grid, torch.linspace(-3.5, 3.5, 57, dtype=torch.float64)])
        _check(basis, Arguments(z, grid, torch.ones_like(grid)), (torch.bfloat16,))


def _grows(basis: Basis) -> bool:
    return basis.properties().polynomial


def _check(
    basis: Basis, arguments: Arguments, dtypes: tuple[torch.dtype, ...] = (torch.float64, torch.float32)
) -> None:
    for dtype in dtypes:
        there, name = arguments.to(dtype), str(dtype).removeprefix("torch.")
        leaves = there.leaves()
        values = evaluate(basis, *leaves)
        if (where := first(~values.isfinite())) is not None:
            raise ConformanceError(
                f"{_what(values.detach()[where])} at {place(basis, there, where)}, {name}{_omega(there)}"
            )
        if not values.requires_grad:
            continue  # the checks of gradients say so
        found = torch.autograd.grad(values.sum(), leaves, allow_unused=True)
        for symbol, gradient in zip(SYMBOLS.values(), found, strict=True):
            if gradient is not None and not gradient.isfinite().all():
                bad, where = _first_bad_gradient(basis, there, list(SYMBOLS.values()).index(symbol))
                raise ConformanceError(
                    f"the gradient in {symbol} is {_what(bad)} at {place(basis, there, where)}, {name}{_omega(there)}"
                )


def _first_bad_gradient(basis: Basis, arguments: Arguments, which: int) -> tuple[Tensor, tuple[int, int]]:
    """The place where the gradient in one of the arguments is not finite; of the whole sum, if of no single value."""
    for k, i, value, leaf in _single_values(basis, arguments, which):
        (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True, materialize_grads=True)
        if not gradient.isfinite().all():
            return gradient[~gradient.isfinite()][0], (k, i)
    return torch.tensor(torch.nan), (0, 0)


def _single_values(basis: Basis, arguments: Arguments, which: int) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    for k in range(len(arguments.z)):
        leaves = arguments._replace(z=arguments.z[k]).leaves()
        for i in range(len(arguments.grid)):
            yield k, i, evaluate(basis, *leaves)[i], leaves[which]


def _what(value: Tensor) -> str:
    return "NaN" if bool(value.isnan()) else "inf" if float(value) > 0 else "-inf"


def _omega(arguments: Arguments) -> str:
    omega = float(arguments.bandwidth[0])
    return "" if omega == 1 or bool((arguments.bandwidth != omega).any()) else f", ω = {omega:.5g}"

"""Gradients are those of the function, and values and gradients are finite wherever training may go.

Gradients are held against difference quotients, and against the change in value that they add up to. At a kink a
quotient takes the slope of one side or the other, and autograd may take either: three are formed, and the nearest
counts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lrlora.bases import Basis
from lrlora.testing.check_basis.contract import (
    SYMBOLS,
    Arguments,
    evaluate,
    first,
    generic,
    place,
    uniform_grid,
    worst,
)
from lrlora.testing.checks import ConformanceError, NotApplicableError, short

DTYPES = (torch.float64, torch.float32)
FEW, MANY = 7, 50
FAR = (10.0, 1e2, 1e3, 1e4)
"""Distances from the origin, in units of z, to which a diverging or badly scaled adapter gets."""
STEP = 1e-6
"""Of a difference quotient: in float64 rounding and curvature are then both near 1e-10."""


def check_gradient_in_z(basis: Basis) -> None:
    """The gradient in z reaches z, and equals the difference quotient."""
    _check_gradient(basis, "z")


def check_gradient_in_bandwidth(basis: Basis) -> None:
    """The gradient in ω reaches every ω_i, and equals the difference quotient."""
    _check_gradient(basis, "bandwidth")


def check_gradient_in_grid(basis: Basis) -> None:
    """The gradient in the grid points reaches every z_i, and equals the difference quotient."""
    _check_gradient(basis, "grid")


def check_gradient_in_shape(basis: Basis) -> None:
    """The gradient in every declared shape parameter reaches it, and equals the difference quotient."""
    declared = getattr(basis, "shape_parameters", {})
    if not declared:
        raise NotApplicableError("declares no shape parameters")
    arguments = generic(5, points=16)
    starts = {name: torch.full_like(arguments.grid, start) for name, start in declared.items()}
    matrix: Any = basis.matrix
    for name, start in starts.items():
        leaf = start.clone().requires_grad_()
        values = matrix(*arguments, **{**starts, name: leaf})
        low, high = (matrix(*arguments, **{**starts, name: start + step}) for step in (-STEP, STEP))
        quotient = (high - low) / (2 * STEP)
        if not quotient.any():
            raise ConformanceError(f"no ψ_i changes with its shape parameter {name}")
        rows = values if values.requires_grad else []
        found = [torch.autograd.grad(row.sum(), leaf, retain_graph=True, materialize_grads=True)[0] for row in rows]
        if not found or not torch.allclose(torch.stack(found), quotient, 1e-4, 1e-5 * float(quotient.abs().max())):
            raise ConformanceError(f"the gradient in {name} is absent, or not the difference quotient")


def check_gradients_add_up(basis: Basis) -> None:
    """The gradient accounts for the change in value over a path: no jumps, no rounding to integers."""
    for name in SYMBOLS:
        wrong = _unexplained(basis, name, 1)
        if wrong is not None and _unexplained(basis, name, 8) is not None:  # else it was steep, and is no jump
            raise ConformanceError(wrong)


def _derivatives(basis: Basis, arguments: Arguments, name: str) -> Tensor:
    """∂ψ_i/∂``name`` at every point by autograd, ``(K, N)``; zero where no gradient reaches it.

    A backward pass per function for z, and one per point for ω and the grid: exact for a basis that is elementwise and
    whose functions have parameters of their own, which other checks ask.
    """
    leaves = arguments.leaves()
    leaf = getattr(leaves, name)
    values = evaluate(basis, *leaves)
    if not values.requires_grad:
        return torch.zeros_like(values)
    of_point = name == "z"
    parts = values.unbind(-1) if of_point else values.unbind(0)
    found = [
        torch.autograd.grad(part.sum(), leaf, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
        if part.requires_grad
        else torch.zeros_like(leaf)
        for part in parts
    ]
    return torch.stack(found, dim=-1 if of_point else 0)


def _check_gradient(basis: Basis, name: str) -> None:
    arguments, symbol = generic(5, points=16), SYMBOLS[name]
    one = getattr(arguments, name)

    def at(step: float) -> Tensor:
        return evaluate(basis, *arguments._replace(**{name: one + step}))

    low, middle, high = at(-STEP), at(0.0), at(STEP)
    if name == "grid" and not basis.uses_grid and torch.equal(low, high):
        raise NotApplicableError("its functions have no grid points")
    quotients = torch.stack([(high - low) / (2 * STEP), (high - middle) / STEP, (middle - low) / STEP])
    found = _derivatives(basis, arguments, name)
    size = quotients[0].abs()
    error = (quotients - found).abs().amin(0)
    # Relative to the slope here, to the steepest slope of any ψ_i, and to what rounding in ψ does to a quotient.
    allowed = 1e-4 * size + 1e-5 * size.amax() + 1e-8 * middle.abs().amax()
    missing = first((found == 0).all(0, keepdim=True) & (size > 10 * allowed).any(0, keepdim=True))
    if missing is not None:
        k = int(size[:, missing[1]].argmax())
        raise ConformanceError(
            f"no gradient reaches {symbol}, though ψ_{missing[1] + 1} changes with it: "
            f"by {float(quotients[0, k, missing[1]]):.5g} per unit at {place(basis, arguments, (k, missing[1]))}"
        )
    wrong = ~(error <= allowed)
    if wrong.any():
        k, i = worst(torch.where(wrong, error.nan_to_num(torch.inf), 0.0))
        raise ConformanceError(
            f"the gradient in {symbol} is {float(found[k, i]):.5g} at {place(basis, arguments, (k, i))}, "
            f"where the difference quotient is {float(quotients[0, k, i]):.5g}"
        )


def _unexplained(basis: Basis, name: str, fineness: int) -> str | None:
    """What a gradient does not account for on a path along one argument, or None."""
    arguments = generic(5, points=4)
    over_z = arguments._replace(z=torch.linspace(-3.5, 3.5, 4000 * fineness + 1, dtype=torch.float64))
    along_z = evaluate(basis, *over_z)
    size = along_z.abs().amax(0)
    if name == "z":
        return _jump(basis, name, over_z.z, along_z, _derivatives(basis, over_z, name), over_z, size)
    steps = torch.linspace(0, 1, 200 * fineness + 1, dtype=torch.float64)
    path = [arguments._replace(**{name: getattr(arguments, name) + step}) for step in steps]
    values = torch.stack([evaluate(basis, *one) for one in path])
    slopes = torch.stack([_derivatives(basis, one, name) for one in path])
    found = (
        _jump(basis, name, steps, values[:, k], slopes[:, k], arguments._replace(z=z.expand(len(steps))), size)
        for k, z in enumerate(arguments.z)
    )
    return next((wrong for wrong in found if wrong is not None), None)


def _jump(
    basis: Basis, name: str, path: Tensor, values: Tensor, slopes: Tensor, arguments: Arguments, size: Tensor
) -> str | None:
    """Compare the change of ``(P, N)`` values along a path with the integral of the slopes."""
    unexplained = values.diff(dim=0) - path.diff()[:, None] * (slopes[1:] + slopes[:-1]) / 2
    total = unexplained.cumsum(0).abs().amax(0)
    extent = values.amax(0) - values.amin(0)
    # Trapezoids err by the curvature times the square of the step: well below this share, kinks included.
    wrong = (total > 0.05 * extent) & (extent > 1e-3 * size)
    if not wrong.any():
        return None
    i = int(wrong.nonzero()[0])
    k = int(unexplained[:, i].abs().argmax())
    return (
        f"a jump in {SYMBOLS[name]}: {float(values[k, i]):.5g} becomes {float(values[k + 1, i]):.5g} near "
        f"{place(basis, arguments, (k, i))}, where the gradient says {float(slopes[k, i]):.5g} per unit"
    )


def check_finite_on_the_grid(basis: Basis) -> None:
    """Values and gradients are finite over the grid interval, where u is 0 and next to it, in bfloat16 too."""
    near = torch.tensor([0.0, 1e-20, -1e-20, 1e-6, -1e-3], dtype=torch.float64)
    for n in (1, FEW, MANY):
        grid = uniform_grid(n)
        # Every eighth, the half and whole numbers among them, where pieces meet; and rounded together with the grid
        # points, so that u is 0 in every dtype.
        z = torch.cat([(grid + near[:, None]).flatten(), torch.linspace(-3.5, 3.5, 57, dtype=torch.float64)])
        _check_finite(basis, Arguments(z, grid, torch.ones_like(grid)), (*DTYPES, torch.bfloat16))
        _check_finite(basis, Arguments(z, torch.zeros_like(grid), torch.ones_like(grid)))
        _check_finite(basis, generic(n))


def check_finite_far_off(basis: Basis) -> None:
    """Values and gradients are finite to |z| = 10,000, where a badly scaled adapter gets."""
    far = torch.tensor([sign * distance for distance in FAR for sign in (1, -1)], dtype=torch.float64)
    for n in (1, FEW, MANY):
        grid = uniform_grid(n)
        _check_finite(basis, Arguments(far, grid, torch.ones_like(grid)))


def check_finite_for_any_bandwidth(basis: Basis) -> None:
    """Values and gradients are finite for bandwidths from 1e-6 to 1e4, on the grid and far off."""
    z = torch.cat([generic(1).z, uniform_grid(FEW), torch.tensor([1e4], dtype=torch.float64)])
    for bandwidth in (1e-6, 1e-2, 10.0, 1e4):
        grid = uniform_grid(FEW)
        _check_finite(basis, Arguments(z, grid, torch.full_like(grid, bandwidth)))


def _check_finite(basis: Basis, arguments: Arguments, dtypes: tuple[torch.dtype, ...] = DTYPES) -> None:
    for dtype in dtypes:
        there, name = arguments.to(dtype), short(dtype)
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
    for k in range(len(arguments.z)):
        leaves = arguments._replace(z=arguments.z[k]).leaves()
        for i, value in enumerate(evaluate(basis, *leaves)):
            (gradient,) = torch.autograd.grad(
                value, leaves[which], retain_graph=True, allow_unused=True, materialize_grads=True
            )
            if not gradient.isfinite().all():
                return gradient[~gradient.isfinite()][0], (k, i)
    return torch.tensor(torch.nan), (0, 0)


def _what(value: Tensor) -> str:
    return "NaN" if bool(value.isnan()) else "inf" if float(value) > 0 else "-inf"


def _omega(arguments: Arguments) -> str:
    omega = float(arguments.bandwidth[0])
    return "" if omega == 1 or bool((arguments.bandwidth != omega).any()) else f", ω = {omega:.5g}"

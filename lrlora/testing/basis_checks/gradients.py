"""Gradients are those of the function, and values and gradients are finite wherever training may go.

Gradients are compared with difference quotients, and with the change in value that they add up to. At a kink a quotient
takes the slope of one side or the other, and autograd may take either: three are formed, and the nearest counts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lrlora.bases import Basis
from lrlora.testing.basis_checks.arguments import (
    F32,
    F64,
    SYMBOLS,
    Arguments,
    evaluate,
    everywhere,
    generic,
    uniform,
    uniform_grid,
)
from lrlora.testing.checks import ConformanceError, NotApplicableError, demand, short

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
    if not basis.shape_parameters:
        raise NotApplicableError("declares no shape parameters")
    for name in basis.shape_parameters:
        _check_gradient(basis, name)


def check_gradients_add_up(basis: Basis) -> None:
    """The gradient accounts for the change in value over a path: no jumps, no rounding to integers."""
    for name in SYMBOLS:
        try:
            _check_path(basis, name, 500)
        except ConformanceError:
            _check_path(basis, name, 4000)  # else it was steep, and is no jump


def check_finite_on_the_grid(basis: Basis) -> None:
    """Values and gradients are finite over the grid interval, where u is 0 and next to it, in bfloat16 too."""
    near = torch.tensor([0.0, 1e-20, -1e-20, 1e-6, -1e-3], dtype=F64)
    for n in (1, 7, 50):
        # Every eighth, the half and whole numbers among them, where pieces meet; and rounded together with the grid
        # points, so that u is 0 in every dtype.
        z = torch.cat([(uniform_grid(n) + near[:, None]).flatten(), torch.linspace(-3.5, 3.5, 57, dtype=F64)])
        at = uniform(z, n)
        _check_finite(basis, at, F64, F32, torch.bfloat16)
        _check_finite(basis, at._replace(grid=torch.zeros_like(at.grid)))
        _check_finite(basis, generic(n))


def check_finite_far_off(basis: Basis) -> None:
    """Values and gradients are finite to |z| = 10,000, where a badly scaled adapter gets."""
    far = torch.logspace(1, 4, 4, dtype=F64)
    for n in (1, 7, 50):
        _check_finite(basis, uniform(torch.cat([far, -far]), n))


def check_finite_for_any_bandwidth(basis: Basis) -> None:
    """Values and gradients are finite for bandwidths from 1e-6 to 1e4, on the grid and far off."""
    z = torch.cat([generic(1).z, uniform_grid(7), torch.tensor([1e4], dtype=F64)])
    for omega in (1e-6, 1e-2, 10.0, 1e4):
        _check_finite(basis, uniform(z, 7, omega), about=f", ω = {omega:g}")


def _start(basis: Basis, at: Arguments, name: str) -> Tensor:
    """An argument of ``matrix``, or a shape parameter where it starts."""
    return at._asdict()[name] if name in SYMBOLS else basis.with_starts({}, at.grid)[name]


def _with(basis: Basis, at: Arguments, name: str, value: Tensor) -> Tensor:
    """ψ_i(z) with another value of an argument or of a shape parameter."""
    if name in SYMBOLS:
        return evaluate(basis, at._replace(**{name: value}))
    return evaluate(basis, at, **basis.with_starts({name: value}, at.grid))


def _derivatives(basis: Basis, at: Arguments, name: str) -> Tensor:
    """∂ψ_i/∂``name`` at every point by autograd, ``(..., N)``; zero where no gradient reaches it.

    A backward pass per function for z, and one per point for the others: exact for a basis that is elementwise and
    whose functions have parameters of their own, which other checks ask.
    """
    leaf = _start(basis, at, name).detach().clone().requires_grad_()
    values = _with(basis, at, name, leaf)
    axis = -1 if name == "z" else 0
    found = [
        torch.autograd.grad(part.sum(), leaf, retain_graph=True, materialize_grads=True, allow_unused=True)[0]
        if part.requires_grad
        else torch.zeros_like(leaf)
        for part in values.unbind(axis)
    ]
    return torch.stack(found, axis)


def _check_gradient(basis: Basis, name: str) -> None:
    at, symbol = generic(5, points=16), SYMBOLS.get(name, name)
    start = _start(basis, at, name)
    low, middle, high = (_with(basis, at, name, start + step) for step in (-STEP, 0.0, STEP))
    if name == "grid" and not basis.uses_grid and torch.equal(low, high):
        raise NotApplicableError("its functions have no grid points")
    demand(name in SYMBOLS or not torch.equal(low, high), f"no ψ_i changes with its shape parameter {name}")
    quotients = torch.stack([(high - low) / (2 * STEP), (high - middle) / STEP, (middle - low) / STEP])
    found, quotient = _derivatives(basis, at, name), quotients[0]
    # Relative to the slope here, to the steepest slope of any ψ_i, and to what rounding in ψ does to a quotient.
    size = quotient.abs()
    allowed = 1e-4 * size + 1e-5 * size.amax() + 1e-8 * middle.abs().amax()
    said = f"no gradient reaches {symbol}, though ψ_{{i}} changes with it: by {{quotient:.5g}} per unit at {{place}}"
    everywhere((found != 0).any(0) | (size <= 10 * allowed), said, basis, at, quotient=quotient)
    said = f"the gradient in {symbol} is {{found:.5g}} at {{place}}, where the difference quotient is {{quotient:.5g}}"
    holds = (quotients - found).abs().amin(0) <= allowed
    everywhere(holds, said, basis, at, found=found, quotient=quotient)


def _check_path(basis: Basis, name: str, count: int) -> None:
    """Compare the change in value along a path in one argument with the integral of the gradient."""
    at = generic(5, points=4)
    steps = torch.linspace(0, 1, count + 1, dtype=F64)
    if name == "z":  # eight paths that cover the interval of the grid, all at once
        z = torch.linspace(-4, 3, 8, dtype=F64) + steps[:, None]
        values, slopes = evaluate(basis, at._replace(z=z)), _derivatives(basis, at._replace(z=z), name)
        starts = at._replace(z=z[0])
    else:
        path = [at._replace(**{name: getattr(at, name) + step}) for step in steps[::2]]
        values = torch.stack([evaluate(basis, one) for one in path])
        slopes, starts = torch.stack([_derivatives(basis, one, name) for one in path]), at
    step = 1 / (len(values) - 1)
    unexplained = (values.diff(dim=0) - step * (slopes[1:] + slopes[:-1]) / 2).cumsum(0).abs().amax(0)
    # Trapezoids err by the curvature times the square of the step, and at a kink by the step: well below this.
    allowed = 0.05 * (values.amax(0) - values.amin(0)) + 1e-3 * values.abs().amax((0, 1))
    said = (
        f"a jump in {SYMBOLS[name]}: on a path of length 1 from {{place}} the gradient leaves {{rest:.5g}} unexplained"
    )
    everywhere(unexplained <= allowed, said, basis, starts, rest=unexplained)


def _check_finite(basis: Basis, at: Arguments, *dtypes: torch.dtype, about: str = "") -> None:
    for dtype in dtypes or (F64, F32):
        here, where = at.to(dtype), f"at {{place}}, {short(dtype)}{about}"
        leaves = here.leaves()
        values = evaluate(basis, leaves)
        everywhere(values.isfinite(), f"{{value:.5g}} {where}", basis, here, value=values.detach())
        if not values.requires_grad:
            continue  # the checks of gradients say so
        gradients = torch.autograd.grad(values.sum(), leaves, materialize_grads=True, allow_unused=True)
        for name, gradient in zip(Arguments._fields, gradients, strict=True):
            if not gradient.isfinite().all():
                found, said = _derivatives(basis, here, name), f"the gradient in {SYMBOLS[name]} is"
                everywhere(found.isfinite(), f"{said} {{value:.5g}} {where}", basis, here, value=found)
                raise ConformanceError(f"{said} not finite in the sum of all values, {short(dtype)}{about}")

"""Gradients are there, and are those of the function.

They are held against difference quotients, and against the change in value that they add up to.

At a kink a difference quotient takes the slope of one side or the other; autograd may take either. So three quotients
are formed, and the nearest counts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from lrlora.bases import Basis
from lrlora.testing.bases.inputs import SYMBOLS, Arguments, evaluate, first, generic, place, worst
from lrlora.testing.checks import ConformanceError, NotApplicableError
from lrlora.transfer import TransferFunction

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


def check_gradients_add_up(basis: Basis) -> None:
    """The gradient accounts for the change in value over a path: no jumps, no rounding to integers."""
    for name in SYMBOLS:
        wrong = _unexplained(basis, name, 1)
        if wrong is not None and _unexplained(basis, name, 8) is not None:  # else it was steep, and is no jump
            raise ConformanceError(wrong)


def check_gradient_of_transfer(basis: Basis) -> None:
    """``torch.autograd.gradcheck`` of φ(z) = Σ a_i ψ_i(z) − φ(0) holds in z, a, ω and z_i."""
    arguments = generic(4, points=3, seed=3)
    amplitude = torch.linspace(-0.5, 0.7, 4, dtype=torch.float64)

    def phi(z: Tensor, grid: Tensor, bandwidth: Tensor, amplitude: Tensor) -> Tensor:
        return TransferFunction(basis, amplitude, bandwidth, grid, residual=True)(z)

    for wanted, symbol in enumerate((*SYMBOLS.values(), "a")):
        inputs = [one.clone().requires_grad_(i == wanted) for i, one in enumerate((*arguments, amplitude))]
        try:
            torch.autograd.gradcheck(phi, inputs, atol=1e-5)
        except GradcheckError as error:
            reason = " ".join(str(error).split())[:160]
            raise ConformanceError(f"gradcheck of φ in {symbol} fails in float64: {reason}") from error


def check_descent(basis: Basis) -> None:
    """A small step along the negative gradient of a squared error lowers it: in a, ω, z_i, and A and B together."""
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    _, grid, bandwidth = generic(6)
    A, B, target = normal(2, 9), normal(8, 2), normal(8, 9)
    start = {"a": normal(6) / 3, "ω": bandwidth, "z_i": grid, "A": A, "B": B}

    def loss(at: dict[str, Tensor]) -> Tensor:
        transfer = TransferFunction(basis, at["a"], at["ω"], at["z_i"], residual=False)
        return (transfer(at["B"] @ at["A"] / 2) - target).square().mean()

    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    before = loss(leaves)
    found = torch.autograd.grad(before, list(leaves.values()), allow_unused=True)
    gradient = {name: g for name, g in zip(leaves, found, strict=True) if g is not None}
    for names in (["a"], ["ω"], ["z_i"], ["A", "B"], list(start)):
        ascent = {name: gradient[name] for name in names if name in gradient}
        slope = sum(float(g.square().sum()) for g in ascent.values())
        if not slope > 1e-12:
            continue  # nothing to descend; whether a gradient is missing is asked by the checks of gradients
        rates = [10.0**-k / (1 + slope**0.5) for k in range(7)]
        stepped = ({**start, **{name: start[name] - rate * g for name, g in ascent.items()}} for rate in rates)
        # A tenth of what the slope promises, so that a gradient of the wrong direction does not pass by luck.
        if not any(
            float(loss(at)) < float(before.detach()) - 0.1 * rate * slope
            for at, rate in zip(stepped, rates, strict=True)
        ):
            raise ConformanceError(
                f"no step along the negative gradient in {', '.join(names)} lowers the loss as its slope promises"
            )


def derivatives(basis: Basis, arguments: Arguments, name: str) -> Tensor:
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
    found = derivatives(basis, arguments, name)
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
        return _jump(basis, name, over_z.z, along_z, derivatives(basis, over_z, name), over_z, size)
    steps = torch.linspace(0, 1, 200 * fineness + 1, dtype=torch.float64)
    path = [arguments._replace(**{name: getattr(arguments, name) + step}) for step in steps]
    values = torch.stack([evaluate(basis, *one) for one in path])
    slopes = torch.stack([derivatives(basis, one, name) for one in path])
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

"""What a basis claims of itself holds, each field of :class:`~lrlora.bases.Properties` by a check of its own.

A claim that is not made is not looked into: :class:`~lrlora.testing.checks.NotApplicableError` says so.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from lrlora.bases import Basis, Properties
from lrlora.testing.basis_checks.arguments import (
    F32,
    F64,
    Arguments,
    evaluate,
    everywhere,
    u_of,
    uniform,
    uniform_grid,
)
from lrlora.testing.checks import NotApplicableError, demand, short

T = TypeVar("T")

N = 6
TOLERANCE = 1e-9
"""Of parity and period, relative to the largest value."""


def check_claims(basis: Basis) -> None:
    """``properties()`` returns ``Properties`` whose fields can be, alone and together."""
    claims, names = basis.properties(), (None, "even", "odd", "definite")
    demand(isinstance(claims, Properties), f"properties() returns a {type(claims).__name__}; it must return Properties")
    demand(claims.parity in names, f"claims the parity {claims.parity!r}; it is 'even', 'odd', 'definite' or None")
    for name in ("period", "support", "band_limit", "interval"):
        value = getattr(claims, name)
        possible = value is None or 0 < value < math.inf
        demand(possible, f"claims the {name} {value!r}; it is positive and finite, or None")
    order = claims.smoothness
    possible = order is None or order == math.inf or (order >= 0 and order == int(order))
    demand(possible, f"claims the smoothness {order!r}; it is 0, 1, 2, … or math.inf, or None")
    if claims.support is not None:
        excluded = {name: getattr(claims, name) for name in ("period", "band_limit", "polynomial")}
        for name, claimed in {**excluded, "smoothness inf (analytic)": order == math.inf}.items():
            demand(not claimed, f"claims a support and {name}: no function but zero has both")


def check_parity(basis: Basis) -> None:
    """The claimed parity: ψ_i(−u) = ± ψ_i(u), ``"definite"`` if each has one of the two."""
    parity = _claimed(basis.properties().parity, "parity")
    steps, grid = torch.linspace(0, 3, 61, dtype=F64), uniform_grid(N)
    at = Arguments(torch.zeros(1, dtype=F64), grid, torch.linspace(0.6, 1.4, N, dtype=F64))
    for i, centre in enumerate(grid if basis.uses_grid else torch.zeros_like(grid)):
        right, left = (evaluate(basis, at._replace(z=centre + sign * steps))[:, i] for sign in (1, -1))
        errors = {"even": (right - left).abs(), "odd": (right + left).abs()}
        nearest = min(errors, key=lambda kind: float(errors[kind].amax()))
        error = errors[nearest if parity == "definite" else parity]
        k = int(error.argmax())
        u = float(at.bandwidth[i] * steps[k])
        demand(
            error[k] <= TOLERANCE * (right.abs().amax() + left.abs().amax()),
            f"claims parity {parity!r}, but ψ_{i + 1} is not {'even or odd' if parity == 'definite' else parity}: "
            f"{float(right[k]):.5g} at u = {u:.5g} and {float(left[k]):.5g} at u = {-u:.5g}",
        )


def check_period(basis: Basis) -> None:
    """The claimed period: ψ_i(u + P) = ψ_i(u), at any common bandwidth."""
    period = _claimed(basis.properties().period, "period")
    for omega in (1.0, 1.3):
        at = uniform(torch.linspace(-3, 3, 61, dtype=F64), N, omega)
        before = evaluate(basis, at)
        for times in (1, -2):
            error = (evaluate(basis, at._replace(z=at.z + times * period / omega)) - before).abs()
            said = f"claims the period {period:g} in u, but the value is {{error:.5g}} off {abs(times)} of it from "
            everywhere(error <= TOLERANCE * before.abs().amax(), said + "{place}", basis, at, error=error)


def check_support(basis: Basis) -> None:
    """Where |u| is at least the claimed support values and gradients are zero exactly, in float64 and float32.

    At the very end a basis rounds u in its own way, and the value may be that of rounding.
    """
    support = _claimed(basis.properties().support, "support")
    for dtype in (F64, F32):
        outside = torch.tensor([1, -1, 1 + 1e-6, 1.01, 1.1, 1.5, 2, 3, 10, 1e3], dtype=dtype) * support
        z = torch.cat([outside, -outside[2:]])
        at = Arguments(z, torch.zeros(N, dtype=dtype), torch.ones(N, dtype=dtype))
        leaves, beyond = at.leaves(), u_of(basis, at).abs() >= support
        values = evaluate(basis, leaves)
        slope = torch.autograd.grad((values * beyond).sum(), leaves, materialize_grads=True, allow_unused=True)[0]
        slope = slope * (z.abs() > 1.005 * support)  # a kink at the end has the slope of either side
        inside = evaluate(basis, at._replace(z=torch.linspace(-support, support, 65, dtype=dtype)))
        allowed = torch.zeros_like(z)
        allowed[:2] = 8 * torch.finfo(dtype).eps * inside.abs().amax()
        found = {"is": values.detach(), "has the slope": slope[:, None].expand(-1, N)}
        for what, value in found.items():
            said = f"claims to vanish for |u| ≥ {support:g}, but {what} {{value:.5g}} at {{place}}, {short(dtype)}"
            everywhere(~beyond | (value.abs() <= allowed[:, None]), said, basis, at, value=value)


def check_band_limit(basis: Basis) -> None:
    """A windowed Fourier transform has no more than 1e-4 of its norm above the claimed band limit."""
    limit = _claimed(basis.properties().band_limit, "band limit")
    # 200 cycles of the limit under a Blackman-Harris window: its own width is 0.02 of the limit, its side lobes 1e-9.
    count = 1 << 14
    u = (torch.arange(count, dtype=F64) - count / 2) * (200 / limit / count)
    turns = torch.arange(4, dtype=F64)[:, None] * (2 * math.pi / count) * torch.arange(count)
    window = torch.tensor([0.35875, -0.48829, 0.14128, -0.01168], dtype=F64) @ turns.cos()
    values = evaluate(basis, uniform(u, N)._replace(grid=torch.zeros(N, dtype=F64)))
    power = torch.fft.rfft(window[:, None] * values, dim=0).abs().square()
    frequency = torch.fft.rfftfreq(count, float(u[1] - u[0]), dtype=F64)
    share = (power[frequency > 1.05 * limit].sum(0) / power.sum(0)).sqrt().nan_to_num(math.inf)
    i = int(share.argmax())
    said = f"{float(share[i]):.2g} of the norm of ψ_{i + 1} lies above it"
    demand(share[i] <= 1e-4, f"claims the band limit {limit:g} cycles per unit of u, but {said}")


def check_partition_of_unity(basis: Basis) -> None:
    """The integer shifts of every ψ_i sum to one, where that is claimed."""
    _claimed(basis.properties().partition_of_unity or None, "partition of unity")
    shifts = torch.arange(-20_000, 20_001, dtype=F64)
    for u in (0.0, 0.25, 0.3, 0.5, 0.77):
        values = evaluate(basis, uniform(u - shifts, 2)._replace(grid=torch.zeros(2, dtype=F64)))
        for i, total in enumerate(values.sum(0).tolist(), 1):
            # A tail as slow as that of sinc leaves out 2e-5.
            said = f"the integer shifts of ψ_{i} sum to {total:.5g} at u = {u:g}"
            demand(abs(total - 1) <= 1e-4, f"claims a partition of unity, but {said}")


def check_smoothness(basis: Basis) -> None:
    """As many continuous derivatives in z as claimed, up to five: divided differences stay bounded as steps shrink."""
    smoothness = _claimed(basis.properties().smoothness, "smoothness")
    order = int(min(smoothness, 5)) + 1
    at_steps = [_divided_differences(basis, order, 0.1 / 4**k) for k in range(6)]
    # Where the last derivative that is claimed to be continuous jumps, the next difference grows as 1/step, fourfold
    # each time; where it does not, it settles. What rounding alone could make of it says nothing.
    for i in range(N):
        sizes = [float(found[i]) for found, noise in at_steps if float(found[i]) > 10 * noise]
        growth = [fine / coarse for coarse, fine in pairwise(sizes)]
        said = f"the divided difference of order {order} of ψ_{i + 1} grows as 1/step: derivative {order - 1} jumps"
        demand(len(growth) < 2 or min(growth) <= 2.8, f"claims smoothness {smoothness:g}, but {said}")


def check_polynomial(basis: Basis) -> None:
    """ψ_i is a polynomial of degree i at most, where that is claimed: i + 1 of its values give all others."""
    _claimed(basis.properties().polynomial or None, "polynomials")
    reach = min(3.0, _interval(basis) / 1.2)
    at = Arguments(
        torch.linspace(-reach, reach, 41, dtype=F64), uniform_grid(N), torch.linspace(0.8, 1.2, N, dtype=F64)
    )
    values = evaluate(basis, at)
    expected, allowed = torch.empty_like(values), torch.empty(N, dtype=F64)
    for i in range(N):
        nodes = reach * (math.pi * (torch.arange(i + 2, dtype=F64) + 0.5) / (i + 2)).cos()
        known = evaluate(basis, at._replace(z=nodes))[:, i]
        # Lagrange's form of the polynomial through the values at the nodes.
        others = [torch.cat([nodes[:k], nodes[k + 1 :]]) for k in range(i + 2)]
        weights = [((at.z[:, None] - rest) / (node - rest)).prod(1) for node, rest in zip(nodes, others, strict=True)]
        expected[:, i], allowed[i] = torch.stack(weights, 1) @ known, 1e-8 * known.abs().amax()
    said = "claims polynomials, but ψ_{i} is not the one of degree {i} through its values: {value:.5g}, not "
    holds = (values - expected).abs() <= allowed
    everywhere(holds, said + "{expected:.5g}, at {place}", basis, at, value=values, expected=expected)


def _interval(basis: Basis) -> float:
    """The half-width in u on which a basis claims to be smooth and polynomial."""
    interval = basis.properties().interval
    return math.inf if interval is None else interval


def _claimed(value: T | None, what: str) -> T:
    if value is None:
        raise NotApplicableError(f"claims no {what}")
    return value


def _divided_differences(basis: Basis, order: int, step: float) -> tuple[Tensor, float]:
    """The largest divided difference of every ψ_i, ``(N,)``, over stencils an eighth of a step apart; and its noise."""
    width = min(3.2, 0.9 * _interval(basis))
    z = torch.linspace(-width, width, round(2 * width / step) * 8 + 1, dtype=F64) + 0.0123
    values = evaluate(basis, uniform(z, N))
    size = float(values.abs().amax())
    for _ in range(order):
        values = values[8:] - values[:-8]
    return values.abs().amax(0) / step**order, 2**order * 2e-16 * size / step**order

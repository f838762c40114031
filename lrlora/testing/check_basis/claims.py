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
from lrlora.testing.check_basis.contract import Arguments, evaluate, first, place, u_of, uniform_grid, worst
from lrlora.testing.checks import ConformanceError, NotApplicableError, short

T = TypeVar("T")

N = 6
TOLERANCE = 1e-9
"""Of parity and period, relative to the largest value."""
LEAK = 1e-4
"""The share of the norm that a numerical Fourier transform may leave above a claimed band limit."""
SUM = 1e-4
"""How far a sum of 40,001 integer shifts may be from one: a tail as slow as that of sinc leaves out 2e-5."""


def check_claims(basis: Basis) -> None:
    """``properties()`` returns ``Properties`` whose fields can be, alone and together."""
    claims = basis.properties()
    if not isinstance(claims, Properties):
        raise ConformanceError(f"properties() returns a {type(claims).__name__}; it must return Properties")
    if claims.parity not in (None, "even", "odd", "definite"):
        raise ConformanceError(f"claims the parity {claims.parity!r}; it is 'even', 'odd', 'definite' or None")
    for name in ("period", "support", "band_limit", "interval"):
        value = getattr(claims, name)
        if value is not None and not 0 < value < math.inf:
            raise ConformanceError(f"claims the {name} {value!r}; it is positive and finite, or None")
    smoothness = claims.smoothness
    if smoothness is not None and not (smoothness == math.inf or (smoothness >= 0 and smoothness == int(smoothness))):
        raise ConformanceError(f"claims the smoothness {smoothness!r}; it is 0, 1, 2, … or math.inf, or None")
    if claims.support is not None:
        for name in ("period", "band_limit", "polynomial"):
            if getattr(claims, name):
                raise ConformanceError(f"claims a support and {name}: no function but zero has both")
        if smoothness == math.inf:
            raise ConformanceError("claims a support and smoothness inf (analytic): no function but zero has both")


def check_parity(basis: Basis) -> None:
    """The claimed parity: ψ_i(−u) = ± ψ_i(u), ``"definite"`` if each has one of the two."""
    parity = _claimed(basis.properties().parity, "parity")
    steps = torch.linspace(0, 3, 61, dtype=torch.float64)
    bandwidth = torch.linspace(0.6, 1.4, N, dtype=torch.float64)
    errors = []
    for i in range(N):
        right, left = (_own(basis, sign * steps, i, bandwidth) for sign in (1, -1))
        size = right.abs().amax() + left.abs().amax()
        error = {"even": (right - left).abs(), "odd": (right + left).abs()}
        errors.append(error["even"] if parity == "even" else error["odd"] if parity == "odd" else _least(error))
        if not bool((errors[-1] <= TOLERANCE * size).all()):
            k = int(errors[-1].argmax())
            u = float(bandwidth[i] * steps[k])
            kind = "even or odd" if parity == "definite" else parity
            raise ConformanceError(
                f"claims parity {parity!r}, but ψ_{i + 1} is not {kind}: {float(right[k]):.5g} at u = {u:.5g} and "
                f"{float(left[k]):.5g} at u = {-u:.5g}"
            )


def check_period(basis: Basis) -> None:
    """The claimed period: ψ_i(u + P) = ψ_i(u), at any common bandwidth."""
    period = _claimed(basis.properties().period, "period")
    z = torch.linspace(-3, 3, 61, dtype=torch.float64)
    for omega in (1.0, 1.3):
        here = Arguments(z, uniform_grid(N), torch.full((N,), omega, dtype=torch.float64))
        before = evaluate(basis, *here)
        for times in (1, -2):
            error = (evaluate(basis, *here._replace(z=z + times * period / omega)) - before).abs()
            if (where := first(~(error <= TOLERANCE * before.abs().amax()))) is not None:
                raise ConformanceError(
                    f"claims the period {period:g} in u, but the value is {float(error[where]):.5g} off "
                    f"{abs(times)} period(s) from {place(basis, here, where)}"
                )


def check_support(basis: Basis) -> None:
    """Where |u| is at least the claimed support values and gradients are zero exactly, in float64 and float32.

    At the very end a basis rounds u in its own way, and the value may be that of rounding.
    """
    support = _claimed(basis.properties().support, "support")
    for dtype in (torch.float64, torch.float32):
        outside = torch.tensor([1, -1, 1 + 1e-6, 1.01, 1.1, 1.5, 2, 3, 10, 1e3], dtype=dtype) * support
        z = torch.cat([outside, -outside[2:]])
        here = Arguments(z, torch.zeros(N, dtype=dtype), torch.ones(N, dtype=dtype))
        leaves = here.leaves()
        values = evaluate(basis, *leaves)
        beyond = u_of(basis, here).abs() >= support
        slopes = torch.autograd.grad((values * beyond).sum(), leaves, allow_unused=True)
        slope_in_z = torch.zeros_like(z) if slopes[0] is None else slopes[0]
        slope_in_z = slope_in_z * (z.abs() > 1.005 * support)  # a kink at the end has the slope of either side
        found_values = values.detach().clone()
        found_values[:2][found_values[:2].abs() <= _rounding(basis, here, support)] = 0
        for what, found in (("is", found_values), ("has the slope", slope_in_z[:, None].expand(-1, N))):
            if (where := first(beyond & (found != 0))) is not None:
                raise ConformanceError(
                    f"claims to vanish for |u| ≥ {support:g}, but {what} {float(found[where]):.5g} at "
                    f"{place(basis, here, where)}, {short(dtype)}"
                )


def check_band_limit(basis: Basis) -> None:
    """A windowed Fourier transform has no more than 1e-4 of its norm above the claimed band limit."""
    limit = _claimed(basis.properties().band_limit, "band limit")
    # 200 cycles of the limit under a Blackman-Harris window: its own width is 0.02 of the limit, its side lobes 1e-9.
    count = 1 << 14
    u = (torch.arange(count, dtype=torch.float64) - count / 2) * (200 / limit / count)
    turns = torch.arange(4, dtype=torch.float64)[:, None] * (2 * math.pi / count) * torch.arange(count)
    window = torch.tensor([0.35875, -0.48829, 0.14128, -0.01168], dtype=torch.float64) @ turns.cos()
    zeros = torch.zeros(N, dtype=torch.float64)
    values = evaluate(basis, u, zeros, torch.ones(N, dtype=torch.float64))
    power = torch.fft.rfft(window[:, None] * values, dim=0).abs().square()
    frequency = torch.fft.rfftfreq(count, float(u[1] - u[0]), dtype=torch.float64)
    share = (power[frequency > 1.05 * limit].sum(0) / power.sum(0)).sqrt()
    if not bool((share <= LEAK).all()):
        i = int(share.nan_to_num(torch.inf).argmax())
        raise ConformanceError(
            f"claims the band limit {limit:g} cycles per unit of u, but {float(share[i]):.2g} of the norm of ψ_{i + 1} "
            "lies above it"
        )


def check_partition_of_unity(basis: Basis) -> None:
    """The integer shifts of every ψ_i sum to one, where that is claimed."""
    if not basis.properties().partition_of_unity:
        raise NotApplicableError("claims no partition of unity")
    shifts = torch.arange(-20_000, 20_001, dtype=torch.float64)
    for u in (0.0, 0.25, 0.3, 0.5, 0.77):
        values = evaluate(basis, u - shifts, torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
        for i, total in enumerate(values.sum(0).tolist()):
            if not abs(total - 1) <= SUM:
                raise ConformanceError(
                    f"claims a partition of unity, but the integer shifts of ψ_{i + 1} sum to {total:.5g} at u = {u:g}"
                )


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
        if len(growth) >= 2 and min(growth) > 2.8:
            raise ConformanceError(
                f"claims smoothness {smoothness:g}, but the divided difference of order {order} of ψ_{i + 1} grows as "
                f"1/step ({', '.join(f'{size:.2g}' for size in sizes)}): derivative {order - 1} jumps"
            )


def check_polynomial(basis: Basis) -> None:
    """ψ_i is a polynomial of degree i at most, where that is claimed: i + 1 of its values give all others."""
    if not basis.properties().polynomial:
        raise NotApplicableError("claims no polynomials")
    reach = min(3.0, _interval(basis) / 1.2)
    z = torch.linspace(-reach, reach, 41, dtype=torch.float64)
    here = Arguments(z, uniform_grid(N), torch.linspace(0.8, 1.2, N, dtype=torch.float64))
    values = evaluate(basis, *here)
    for i in range(N):
        nodes = reach * (math.pi * (torch.arange(i + 2, dtype=torch.float64) + 0.5) / (i + 2)).cos()
        known = evaluate(basis, *here._replace(z=nodes))[:, i]
        expected = _lagrange(nodes, known, z)
        error = (values[:, i] - expected).abs() / known.abs().amax()
        if not bool((error <= 1e-8).all()):
            k = worst(error[:, None])[0]
            raise ConformanceError(
                f"claims polynomials, but ψ_{i + 1} is not the one of degree {i + 1} through {i + 2} of its values: "
                f"{float(values[k, i]):.5g}, not {float(expected[k]):.5g}, at {place(basis, here, (k, i))}"
            )


def _interval(basis: Basis) -> float:
    """The half-width in u on which a basis claims to be smooth and polynomial."""
    interval = basis.properties().interval
    return math.inf if interval is None else interval


def _claimed(value: T | None, what: str) -> T:
    if value is None:
        raise NotApplicableError(f"claims no {what}")
    return value


def _own(basis: Basis, steps: Tensor, i: int, bandwidth: Tensor) -> Tensor:
    """ψ_i at distances from where its u is 0, ``(K,)``."""
    grid = uniform_grid(N)
    z = grid[i] + steps if basis.uses_grid else steps
    return evaluate(basis, z, grid, bandwidth)[:, i]


def _rounding(basis: Basis, arguments: Arguments, support: float) -> float:
    """What rounding of u may leave of a value at the end of the support."""
    inside = torch.linspace(-support, support, 65, dtype=arguments.z.dtype)
    return 8 * torch.finfo(inside.dtype).eps * float(evaluate(basis, *arguments._replace(z=inside)).abs().amax())


def _least(errors: dict[str, Tensor]) -> Tensor:
    return min(errors.values(), key=lambda error: float(error.amax()))


def _divided_differences(basis: Basis, order: int, step: float) -> tuple[Tensor, float]:
    """The largest divided difference of every ψ_i, ``(N,)``, over stencils an eighth of a step apart; and its noise."""
    width = min(3.2, 0.9 * _interval(basis))
    count = round(2 * width / step) * 8 + 1
    z = torch.linspace(-width, width, count, dtype=torch.float64) + 0.0123
    values = evaluate(basis, z, uniform_grid(N), torch.ones(N, dtype=torch.float64))
    size = float(values.abs().amax())
    for _ in range(order):
        values = values[8:] - values[:-8]
    return values.abs().amax(0) / step**order, 2**order * 2e-16 * size / step**order


def _lagrange(nodes: Tensor, values: Tensor, z: Tensor) -> Tensor:
    """The polynomial through ``(M,)`` values at ``(M,)`` nodes, at ``(K,)`` points: Lagrange's form."""
    total = torch.zeros_like(z)
    for k, node in enumerate(nodes):
        others = torch.cat([nodes[:k], nodes[k + 1 :]])
        total = total + values[k] * ((z[:, None] - others) / (node - others)).prod(1)
    return total

"""What may be changed without changing the update: the order of the functions, a period, a place outside a support."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from lrlora.bases import Basis, ShiftedBasis
from lrlora.testing.checks import ConformanceError, NotApplicableError
from lrlora.testing.laws.draws import UNIT, drawn_pair, drawn_theta, drawn_transfer, rounding_of_features
from lrlora.transfer import TransferFunction

F64 = torch.float64


def law_permutation(basis: Basis, seed: int = 0) -> None:
    """Grid points change places together with their a and ω, and φ of one shifted kernel stays the same."""
    if not basis.uses_grid:
        raise NotApplicableError("without grid points the index of a function says which function it is")
    if not isinstance(basis, ShiftedBasis):
        raise NotApplicableError("the basis is not one shifted kernel: a function may depend on its index")
    n = 7
    a, bandwidth, grid = drawn_theta(seed, n)
    z = torch.linspace(-3, 3, 41, dtype=F64)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    values = basis.matrix(z, grid, bandwidth) * a
    moved = basis.matrix(z, grid[order], bandwidth[order]) * a[order]
    # The same arithmetic on the same numbers, in other lanes and another order of summation.
    allowed = (rounding_of_features(basis, z, grid, bandwidth) * a.abs()).sum(-1) + n * UNIT * values.abs().sum(-1)
    off = (values.sum(-1) - moved.sum(-1)).abs()
    _require_within(off, allowed, z, "φ changes when grid points change places together with their a and ω")


def law_period(basis: Basis, seed: int = 0) -> None:
    """Where all bandwidths are ω, a periodic basis does not notice that z moves by its period over ω."""
    period = basis.properties().period
    if period is None:
        raise NotApplicableError("the basis does not say that it is periodic")
    n = 7
    _, _, grid = drawn_theta(seed, n)
    z = torch.linspace(-3, 3, 41, dtype=F64)
    for omega in (0.5, 1.0, 1.3):
        bandwidth = torch.full((n,), omega, dtype=F64)
        for times in (-2, 1, 3):
            shift = times * period / omega
            off = (basis.matrix(z + shift, grid, bandwidth) - basis.matrix(z, grid, bandwidth)).abs()
            allowed = rounding_of_features(basis, z, grid, bandwidth, shift)
            _require_within(
                off.flatten(),
                allowed.flatten(),
                z.repeat_interleave(n),
                f"ψ changes over {times} × {period:g} / {omega:g}",
            )


def law_support(basis: Basis, seed: int = 0) -> None:
    """Entries outside the support add exactly zero: to ΔW, and to the gradients of a_i, ω_i, z_i, A and B.

    Said of φ that is not centred: a centred one adds −φ(0) there, which is zero if 0 is outside the support as well.
    """
    support = basis.properties().support
    if support is None:
        raise NotApplicableError("the basis does not say that it has a support")
    B, A = drawn_pair(seed, 12, 11, 2, 6.0 * support)
    for omega in (0.5, 1.0, 1.7):
        for point in (0.0, -0.8):
            leaves = [torch.tensor([value], dtype=F64).requires_grad_() for value in (1.3, omega, point)]
            factors = [B.clone().requires_grad_(), A.clone().requires_grad_()]
            a, bandwidth, grid = leaves
            z = factors[0] @ factors[1]
            with torch.no_grad():
                outside = _argument(basis, z, grid, bandwidth).abs() >= support
            update = TransferFunction(basis, a, bandwidth, grid, residual=False, centered=False)(z)
            # Gradients that come in at the entries outside, and nowhere else.
            incoming = torch.where(outside, torch.ones_like(update), torch.zeros_like(update))
            grads = torch.autograd.grad(update, [*leaves, *factors], incoming, allow_unused=True)
            names = ("a", "ω", "z_i", "A or B", "A or B")
            where = f"where |u| ≥ {support:g}, at ω = {omega:g}, z_i = {point:g}"
            leak = update.detach()[outside].abs().max() if bool(outside.any()) else torch.zeros(())
            if not float(leak) == 0.0:
                raise ConformanceError(f"ΔW is {float(leak):.1e} {where}; it must be 0, exactly")
            for name, gradient in zip(names, grads, strict=True):
                size = 0.0 if gradient is None else float(gradient.abs().max())
                if size != 0.0:
                    raise ConformanceError(f"the gradient of {name} is {size:.1e} from entries {where}; it must be 0")


def law_scaling(basis: Basis, seed: int = 0) -> None:
    """s_in · c and s_out / c leave a straight line alone, and move only the range of a φ that bends.

    φ at c z with (a, ω, z_i) is φ at z with (a, c ω, z_i / c), of every basis that is a function of u = ω (z − z_i).
    """
    B, A = drawn_pair(seed, 9, 8, 2, 1.0)
    z = B @ A
    a, bandwidth, grid = drawn_theta(seed, 5)
    straight = TransferFunction(basis, torch.zeros_like(a), bandwidth, grid)
    for c in (0.25, 8.0):  # powers of two, so that scaling rounds nothing
        off = float((straight(c * z) / c - straight(z)).abs().max())
        if off != 0:
            raise ConformanceError(f"at a = 0 the update moves by {off:.1e} when s_in is {c:g} times and s_out 1/{c:g}")
    claims = basis.properties()
    if not isinstance(basis, ShiftedBasis) and {claims.period, claims.support, claims.band_limit} == {None}:
        return  # such a basis says nothing of itself in terms of u, and its ω need not multiply z
    for c in (0.25, 2.0):
        one = basis.matrix(c * z, grid, bandwidth)
        other = basis.matrix(z, grid / c, c * bandwidth)
        allowed = rounding_of_features(basis, c * z, grid, bandwidth)
        _require_within(
            (one - other).abs().flatten(),
            allowed.flatten(),
            (c * z).flatten().repeat_interleave(len(a)),
            f"ψ(c z; z_i, ω) is not ψ(z; z_i / c, c ω) at c = {c:g}",
        )


def law_parity(basis: Basis, seed: int = 0) -> None:
    """Where ψ is even or odd in u, φ without shifts is too: −BA has the same φ, or its negative."""
    parity = basis.properties().parity
    if parity is None:
        raise NotApplicableError("the basis does not say that its functions are even or odd")
    B, A = drawn_pair(seed, 9, 8, 2, 2.0)
    f = replace(drawn_transfer(basis, seed, 6), grid=torch.zeros(6, dtype=F64))
    z = B @ A
    at, mirrored = (basis.matrix(x, f.grid, f.bandwidth) for x in (z, -z))
    allowed = rounding_of_features(basis, z, f.grid, f.bandwidth)
    even = ((at - mirrored).abs() <= allowed).all(0).all(0)
    odd = ((at + mirrored).abs() <= allowed).all(0).all(0)
    right = {"even": even, "odd": odd, "definite": even | odd}[parity]
    if not bool(right.all()):
        wrong = int((~right).nonzero()[0]) + 1
        raise ConformanceError(
            f"ψ_{wrong} is {'neither even nor odd' if parity == 'definite' else f'not {parity}'} in u"
        )


def _argument(basis: Basis, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
    u: Tensor = bandwidth * (z - grid) if basis.uses_grid else bandwidth * z
    return u


def _require_within(off: Tensor, allowed: Tensor, z: Tensor, what: str) -> None:
    """Raise with the worst of the points.

    Raises:
        ConformanceError: An error is above what is allowed, or is not finite.
    """
    excess = torch.where((off - allowed).isfinite(), off - allowed, torch.full_like(off, math.inf))
    worst = int(excess.argmax())
    if float(excess[worst]) > 0:
        raise ConformanceError(f"{what}: by {float(off[worst]):.2e} at z = {float(z[worst]):.4g}")

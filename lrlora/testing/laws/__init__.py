"""The laws of rank relaxation, as functions that anyone can call on a basis of their own.

A law is ``law_*(basis)``: it returns where it holds, raises ``ConformanceError`` with the numbers where it does not,
and ``NotApplicableError`` where it says nothing of this basis. docs/laws.md derives them. What a basis claims of itself
(parity, period, support, smoothness and the like) is checked by :func:`lrlora.testing.check_basis` alone.

    >>> from lrlora.bases import BASES
    >>> outcomes = run_laws(BASES.create("bspline"))
    >>> all(outcome.ok for outcome in outcomes)
    True

``Laws(basis)`` is the thing to hand to ``run_checks`` and ``parametrize_with_checks``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrlora.bases import Basis, ShiftedBasis
from lrlora.testing.checks import (
    Check,
    NotApplicableError,
    Outcome,
    bind,
    checks_of,
    demand,
    functions_of,
    run_checks,
)
from lrlora.testing.laws.full_rank import RankOutOfReachError, angle_range_for_full_rank, reach_full_rank
from lrlora.testing.laws.ranks import (
    chebyshev_coefficients,
    degree_rank_bound,
    epsilon_rank,
    lowest_degree_for_rank,
    monomial_rank_bound,
    rank_at_precision,
    tail_sums,
)
from lrlora.transfer import TransferFunction

F64 = torch.float64
ROUNDING = 1e-10
"""What rounding may do to a singular value relative to the largest, or to ψ relative to its largest value."""
LARGEST_BANDWIDTH = 1.4


def drawn_pair(seed: int, m: int, n: int, r: int, bound: float) -> tuple[Tensor, Tensor]:
    """Draw normal B ``(m, r)`` and A ``(r, n)`` in float64, scaled so that max |BA| is ``bound``."""
    generator = torch.Generator().manual_seed(seed)
    B, A = (torch.randn(*shape, dtype=F64, generator=generator) for shape in ((m, r), (r, n)))
    return B, A * (bound / (B @ A).abs().max())


def drawn_transfer(
    basis: Basis, seed: int, n: int, *, residual: bool = False, centered: bool = False
) -> TransferFunction:
    """Draw φ of n functions, with no small a, ω in [0.7, 1.4] and ascending grid points in [−2, 2]."""
    generator = torch.Generator().manual_seed(seed + 1)

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(n, dtype=F64).uniform_(low, high, generator=generator)

    signs = 2.0 * torch.randint(0, 2, (n,), generator=generator) - 1
    a, bandwidth, grid = signs * uniform(0.5, 1.5), uniform(0.7, LARGEST_BANDWIDTH), uniform(-2, 2).sort().values
    return TransferFunction(basis, a, bandwidth, grid, residual=residual, centered=centered)


def law_degree(basis: Basis, seed: int = 0) -> None:
    """A polynomial φ of degree d gives rank C(r + d, d) at most, one less where it is centred."""
    if not basis.properties().polynomial:
        raise NotApplicableError("the basis does not say that its functions are polynomials")
    interval = basis.properties().interval
    reach = 3.0 if interval is None else min(3.0, interval / LARGEST_BANDWIDTH)
    for r, degree, centered in ((1, 1, True), (1, 6, False), (2, 3, True), (3, 1, True), (3, 2, False)):
        bound = degree_rank_bound(r, degree, centered=centered)
        B, A = drawn_pair(seed, bound + 5, bound + 4, r, reach)
        sigma = torch.linalg.svdvals(drawn_transfer(basis, seed, degree, centered=centered)(B @ A))
        demand(
            sigma[bound] <= ROUNDING * sigma[0],
            f"{degree} functions make φ a polynomial of a degree above {degree}: σ_{bound + 1} / σ_1 of φ(BA) is "
            f"{float(sigma[bound] / sigma[0]):.2e} at r = {r}, |BA| ≤ {reach:.3g}, where rank {bound} is the most",
        )


def law_chebyshev_tail(basis: Basis, seed: int = 0) -> None:
    """The singular values of φ(BA) past C(r + d, d) are at most √(mn) times the tail of φ's Chebyshev series.

    Holds for every elementwise φ, at every degree d: the series cut at d makes of BA a matrix of rank C(r + d, d), and
    no matrix of that rank is nearer in the spectral norm than the next singular value (Eckart and Young, 1936).
    """
    m, n = 26, 24
    f = drawn_transfer(basis, seed, 5)
    for r, bound in ((1, 0.5), (2, 0.5), (2, 3.0)):
        B, A = drawn_pair(seed, m, n, r, bound)
        sigma = torch.linalg.svdvals(f(B @ A))
        c = chebyshev_coefficients(f, bound, 64)
        # What 64 orders leave over of a φ that is no polynomial of degree 63. It is found on the line and not at the
        # entries, so that an update that is no function of its entries is noticed. That error oscillates as the nodes
        # are spaced; with eight places between two nodes its largest is met within a few per cent, so twice is enough.
        t = torch.linspace(-1, 1, 8 * 64 + 1, dtype=F64)
        series = torch.cos(torch.arange(64) * t.clamp(-1, 1).arccos()[:, None]) @ c
        beyond = 2 * float((f(bound * t) - series).abs().max())
        for degree in range(n):
            if (rank := degree_rank_bound(r, degree)) >= n:
                break
            tail = math.sqrt(m * n) * (float(tail_sums(c)[degree]) + beyond)
            demand(
                sigma[rank] <= tail + ROUNDING * sigma[0],
                f"σ_{rank + 1} = {float(sigma[rank]):.2e} of φ(BA) is above √(mn) times the Chebyshev tail of degree "
                f"{degree}, {tail:.2e}, at r = {r}, |BA| ≤ {bound}: φ is not a function of the single entry",
            )


def law_full_rank(basis: Basis, seed: int = 0) -> None:
    """Where full rank was constructed, the range is one on which the Chebyshev tail leaves room for it.

    The bound from above and the construction from below must not pass each other. A basis that does not follow a sine
    and a cosine with 64 functions is not at fault; the law then says nothing.
    """
    del seed  # nothing is drawn
    reasons = []
    for n, r in ((8, 1), (16, 2), (27, 3)):
        try:
            found = reach_full_rank(basis, n, r, num_functions=64)
            smallest = float(torch.linalg.svdvals(found.update)[-1])
            # The precision at which a singular value as small as the smallest still counts.
            eps = smallest / (2 * n * float(found.update.abs().max()))
            predicted = rank_at_precision(found.transfer, r, found.reach, eps)
        except ValueError as reason:
            reasons.append(str(reason))
            continue
        demand(
            predicted.rank >= n,
            f"φ(BA) has rank {n} with σ_min = {smallest:.2g} at r = {r}, |BA| ≤ {found.reach:.3g}, where φ is followed "
            f"by degree {predicted.degree}, which gives rank {predicted.rank} at most",
        )
    if len(reasons) == 3:
        raise NotApplicableError(reasons[0])


def law_residual_start(basis: Basis, seed: int = 0) -> None:
    """With the residual path and a = 0 the update is LoRA's, of rank r, bit by bit, on any range."""
    f = drawn_transfer(basis, seed, 6, residual=True)
    f.amplitude.zero_()
    B, A = drawn_pair(seed, 8, 7, 2, 1.0)
    for bound in (0.0, 0.01, 3.0, 30.0):
        z = bound * (B @ A)
        off = (f(z) - z).abs().nan_to_num(math.inf)
        said = f"at a = 0 the update is not BA: an entry differs by {float(off.max()):.1e} at |BA| ≤ {bound:g}"
        demand(not off.any(), f"{said} (a value of ψ that is not finite is not silenced by a = 0)")


def law_scaling(basis: Basis, seed: int = 0) -> None:
    """φ at c z with (ω, z_i) is φ at z with (c ω, z_i / c): s_in is a bandwidth, for all functions at once.

    Said of every basis that is a function of u = ω (z − z_i).
    """
    claims = basis.properties()
    if not isinstance(basis, ShiftedBasis) and {claims.period, claims.support, claims.band_limit} == {None}:
        raise NotApplicableError("the basis says nothing of itself in terms of u, and its ω need not multiply z")
    f, z = drawn_transfer(basis, seed, 5), torch.linspace(-3, 3, 41, dtype=F64)
    for c in (0.25, 2.0):
        one, other = basis.matrix(c * z, f.grid, f.bandwidth), basis.matrix(z, f.grid / c, c * f.bandwidth)
        _require_equal(one, other, z, f"ψ(c z; z_i, ω) is not ψ(z; z_i / c, c ω) at c = {c:g}")


def law_permutation(basis: Basis, seed: int = 0) -> None:
    """Grid points change places together with their a and ω, and φ of one shifted kernel stays the same."""
    if not (basis.uses_grid and isinstance(basis, ShiftedBasis)):
        raise NotApplicableError("the basis is not one shifted kernel: a function may depend on its index")
    f, z = drawn_transfer(basis, seed, 7), torch.linspace(-3, 3, 41, dtype=F64)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    moved = basis.matrix(z, f.grid[order], f.bandwidth[order])
    _require_equal(f.features(z)[:, order], moved, z, "ψ_i changes when grid points change places with their ω")


LAWS: tuple[Callable[..., None], ...] = functions_of(vars(), "law_")


@dataclass(frozen=True)
class Laws:
    """The laws of a basis, as a thing that has checks."""

    basis: Basis


@checks_of.register
def _(laws: Laws) -> Iterator[Check]:
    return bind(LAWS, laws.basis)


def run_laws(basis: Basis, **options: Any) -> list[Outcome]:
    """Run every law on a basis and return how each ended; with the options of :func:`lrlora.testing.run_checks`."""
    return run_checks(Laws(basis), **options)


def _require_equal(one: Tensor, other: Tensor, z: Tensor, what: str) -> None:
    """Raise with the worst of the points, ``(K,)``, unless two ``(K, N)`` tensors are equal up to rounding."""
    error = (one - other).abs().nan_to_num(math.inf).amax(1)
    k = int(error.argmax())
    said = f"{what}: by {float(error[k]):.2e} at z = {float(z[k]):.4g}"
    demand(error[k] <= ROUNDING / 10 * max(1.0, float(one.abs().max())), said)


__all__ = [
    "LAWS", "Laws", "RankOutOfReachError", "angle_range_for_full_rank", "chebyshev_coefficients", "degree_rank_bound",
    "drawn_pair", "drawn_transfer", "epsilon_rank", "law_chebyshev_tail", "law_degree", "law_full_rank",
    "law_permutation", "law_residual_start", "law_scaling", "lowest_degree_for_rank", "monomial_rank_bound",
    "rank_at_precision", "reach_full_rank", "run_laws", "tail_sums",
]  # fmt: skip

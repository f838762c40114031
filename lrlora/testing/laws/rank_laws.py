"""What φ does to the rank of BA, as laws that hold for every basis or for those that declare a property."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from lrlora.analysis.linalg import singular_values
from lrlora.bases import Basis
from lrlora.testing.checks import ConformanceError, NotApplicableError
from lrlora.testing.laws.bounds import degree_rank_bound, exact_rank
from lrlora.testing.laws.draws import (
    drawn_pair,
    drawn_theta,
    drawn_transfer,
    rounding_of_matrix,
    whole_pair,
)
from lrlora.testing.laws.tails import ChebyshevSeries
from lrlora.transfer import TransferFunction

F64 = torch.float64


def law_linear(basis: Basis, seed: int = 0) -> None:
    """A linear φ, centred, gives rank r at most.

    Two straight lines: the residual path alone, at a = 0, whose rank is counted exactly on whole numbers, and one
    function of a basis of polynomials, of which the first has degree 1.
    """
    for r in (1, 2, 4):
        B, A = whole_pair(seed, 12, 10, r)
        _, bandwidth, grid = drawn_theta(seed, 5)
        f = TransferFunction(basis, torch.zeros(5, dtype=F64), bandwidth, grid)
        rank = exact_rank(f(B @ A))
        if rank > r:
            raise ConformanceError(f"rank {rank} > r = {r} at a = 0 with the residual path, where φ is a straight line")
    if basis.properties().polynomial:
        _check_degree(basis, seed, r=3, degree=1, centered=True)


def law_degree(basis: Basis, seed: int = 0) -> None:
    """A polynomial φ of degree d gives rank C(r + d, d) at most, one less where it is centred."""
    if not basis.properties().polynomial:
        raise NotApplicableError("the basis does not say that its functions are polynomials")
    for r, degree in ((1, 1), (1, 6), (2, 3), (3, 2)):
        for centered in (False, True):
            _check_degree(basis, seed, r, degree, centered)


def _check_degree(basis: Basis, seed: int, r: int, degree: int, centered: bool) -> None:
    bound = degree_rank_bound(r, degree, centered=centered)
    B, A = drawn_pair(seed, bound + 5, bound + 4, r, 3.0)
    f = drawn_transfer(basis, seed, degree, centered=centered)
    z = B @ A
    past = float(singular_values(f(z))[bound])
    # The bound is exact; a computed singular value is off by what rounding does to the matrix, by Weyl's inequality.
    allowed = rounding_of_matrix(f, z)
    if not past <= allowed:
        raise ConformanceError(
            f"{degree} functions make φ a polynomial of a degree above {degree}: σ_{bound + 1} of φ(BA) is {past:.2e} "
            f"at r = {r}, |BA| ≤ 3, where rank {bound} is the most{' (centred)' if centered else ''} "
            f"and rounding makes {allowed:.1e}"
        )


def law_constant(basis: Basis, seed: int = 0) -> None:
    """Where φ is constant the update has rank 1, and none where it is centred.

    At B = 0 every entry of BA is the same number, so every entry of φ(BA) is. A basis whose integer shifts sum to one,
    with a support, is constant between its outermost grid points too.
    """
    zero = torch.zeros(7, 5, dtype=F64)
    for n in (1, 6):
        phi = drawn_transfer(basis, seed, n)(zero)
        # Equal inputs, but the lanes of a vectorised loop and its scalar rest may round apart: a few units, no more.
        spread = float((phi - phi[0, 0]).abs().max())
        if not spread <= 1e-14 * max(1.0, float(phi.abs().max())):
            raise ConformanceError(f"φ(0) differs by {spread:.1e} between the entries of B A = 0: φ is not elementwise")
        centered = float(drawn_transfer(basis, seed, n, centered=True)(zero).abs().max())
        if not centered <= 1e-14 * max(1.0, float(phi.abs().max())):
            raise ConformanceError(f"the centred update is {centered:.1e} at B = 0, where it must be zero")
    claims = basis.properties()
    if claims.partition_of_unity and claims.support is not None:
        _check_partition(basis, seed, claims.support)


def _check_partition(basis: Basis, seed: int, support: float) -> None:
    reach = math.ceil(support) + 3
    grid = torch.arange(-reach, reach + 1, dtype=F64)
    one = torch.ones_like(grid)
    B, A = drawn_pair(seed, 9, 8, 2, 3.0)
    f = TransferFunction(basis, one, one, grid, residual=False, centered=False)
    second = float(singular_values(f(B @ A))[1])
    allowed = rounding_of_matrix(f, B @ A)
    if not second <= allowed:
        raise ConformanceError(
            f"at a = 1 on integer grid points φ(BA) has σ_2 = {second:.2e} (rounding: {allowed:.1e}): the shifts "
            "do not sum to a constant"
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
        z = B @ A
        values = f(z)
        sigma = singular_values(values)
        series = ChebyshevSeries.of(f, bound, 64)
        # What 64 orders leave over of a φ that is no polynomial of degree 63. It is found on the line and not at the
        # entries, so that an update that is no function of its entries is noticed. That error oscillates as the nodes
        # are spaced; with eight places between two nodes its largest is met within a few per cent, so twice is enough.
        line = torch.linspace(-bound, bound, 8 * 64 + 1, dtype=F64)
        beyond = 2 * float((f(line) - series(line)).abs().max())
        allowed = rounding_of_matrix(f, z)
        degree = 0
        while (rank := degree_rank_bound(r, degree)) < min(m, n):
            tail = math.sqrt(m * n) * (float(series.tails()[degree]) + beyond)
            if not float(sigma[rank]) <= tail + allowed:
                raise ConformanceError(
                    f"σ_{rank + 1} = {float(sigma[rank]):.2e} of φ(BA) is above √(mn) times the Chebyshev tail of "
                    f"degree {degree}, {tail:.2e}, at r = {r}, |BA| ≤ {bound}: φ is not a function of the single entry"
                )
            degree += 1


FLOOR = 1e-13
"""Relative to the largest, coefficients below this are rounding."""


def law_smoothness(basis: Basis, seed: int = 0) -> None:
    """Chebyshev coefficients fall geometrically where ψ is analytic, and as a power of the order as it is smooth."""
    smoothness = basis.properties().smoothness
    if smoothness is None:
        raise NotApplicableError("the basis does not say how smooth its functions are")
    _, bandwidth, grid = drawn_theta(seed, 4, reach=1.0)
    for i in range(len(grid)):
        series = ChebyshevSeries.of(lambda z, i=i: basis.matrix(z, grid, bandwidth)[..., i], 3.0, 1024)  # type: ignore[misc]
        sizes = series.coefficients.abs()
        if sizes.max() == 0:
            continue
        # The largest of every octave [16, 32), [32, 64), …: single coefficients pass through zero as cos(kθ) does.
        octaves = [float(sizes[k : 2 * k].max() / sizes.max()) for k in (16, 32, 64, 128, 256)]
        where = f"of ψ_{i + 1} at ω = {float(bandwidth[i]):.3f}, z_i = {float(grid[i]):.3f} on |z| ≤ 3"
        if smoothness == math.inf:
            _check_geometric(octaves, where)
        else:
            _check_algebraic(octaves, float(smoothness), where)


def _check_geometric(octaves: list[float], where: str) -> None:
    # From R^−k to R^−2k is a square. The power 3/2 leaves room for factors of k beside R^−k, and is still past what
    # any k^−q with q up to 8 does from an octave to the next: 2^−q. Before a hundredth a function that oscillates may
    # not have begun to fall.
    for i, (one, following) in enumerate(pairwise(octaves)):
        if one <= 1e-2 and not following <= max(one**1.5, FLOOR):
            raise ConformanceError(
                f"the Chebyshev coefficients {where} fall from {one:.1e} (orders from {16 << i}) to {following:.1e} "
                f"(from {32 << i}), which is not geometric: ψ is not analytic there"
            )


def _check_algebraic(octaves: list[float], smoothness: float, where: str) -> None:
    # A jump in derivative s + 1 gives coefficients k^−(s + 2); one that is claimed too high by one gives k^−(s + 1).
    # The 0.15 is what an octave's largest coefficient may be off by from the power law that it follows.
    above = [i for i, size in enumerate(octaves) if size > 10 * FLOOR]
    last = above[-1] if above else 0
    # Two octaves past the first, in which the kinks of one function still beat with one another. What is below rounding
    # by then cannot be told from an analytic function.
    if last < 3:
        return
    fall = math.log2(octaves[last - 2] / octaves[last]) / 2
    # Past three derivatives float64 runs out while the kinks of one function still beat: of honest splines of degrees 5
    # to 7 the measured power is low by up to one. There only a claim that is too high by two or more is told.
    if not fall >= smoothness + (1.15 if smoothness <= 3 else 0.25):
        raise ConformanceError(
            f"the Chebyshev coefficients {where} fall as k^−{fall:.2f}, where {smoothness:g} continuous derivatives "
            f"make k^−{smoothness + 2:g}"
        )

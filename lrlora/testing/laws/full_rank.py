"""Updates of full rank by construction: which range of entries they need, and how many functions.

The pattern is the discrete Hartley transform over a lattice. Let the n rows of B and the n columns of A be the points
of a centred lattice with k_1 × … × k_r points, n = k_1 ⋯ k_r, so that an entry of BA is Σ_l (2π / k_l) i_l j_l. Then
cos + sin of that entry is an orthogonal matrix times √n: of full rank, and as well conditioned as a matrix can be. Any
basis that follows one cosine and one sine on that range gets there; docs/laws.md, law 10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.bases import Basis
from lrlora.testing.laws.ranks import degree_rank_bound
from lrlora.transfer import TransferFunction

F64 = torch.float64


class RankOutOfReachError(ValueError):
    """No update of full rank was constructed, and the reason."""


@dataclass(frozen=True)
class FullRank:
    """An update φ(BA) of full rank.

    Attributes:
        A: ``(r, n)``.
        B: ``(n, r)``.
        transfer: φ, as published: neither centred nor with a residual path.
        smallest: The smallest singular value of φ(BA), relative to the largest.
        stable_rank: Of φ(BA).
        reach: max |BA|, in units of z.
    """

    A: Tensor
    B: Tensor
    transfer: TransferFunction
    smallest: float
    stable_rank: float
    reach: float

    @property
    def update(self) -> Tensor:
        """φ(BA), ``(n, n)``."""
        return self.transfer(self.B @ self.A)


def angle_range_for_full_rank(n: int, r: int) -> float:
    """max |κ BA| of the lattice, in radians of cos and sin: Σ_l (π / 2) (k_l − 1)² / k_l, about (π / 2) r n^(1/r).

    >>> [round(angle_range_for_full_rank(256, r), 1) for r in (1, 2, 4, 8)]
    [399.0, 44.2, 14.1, 6.3]
    """
    return sum(math.pi / 2 * (k - 1) ** 2 / k for k in lattice_sides(n, r))


def lattice_sides(n: int, r: int) -> list[int]:
    """n as a product of r whole numbers that are as equal as a greedy choice makes them.

    >>> lattice_sides(64, 2), lattice_sides(768, 4), lattice_sides(7, 2)
    ([8, 8], [6, 8, 4, 4], [7, 1])
    """
    prime_factors = []
    rest, divisor = n, 2
    while rest > 1:
        while rest % divisor == 0:
            prime_factors.append(divisor)
            rest //= divisor
        divisor += 1
    sides = [1] * r
    for factor in reversed(prime_factors):
        sides[sides.index(min(sides))] *= factor
    return sides


def reach_full_rank(basis: Basis, n: int, r: int, num_functions: int = 64, bound: float = 3.0) -> FullRank:
    """Construct B, A and θ such that the n × n matrix φ(BA) has full rank.

    The lattice is scaled into |z| ≤ 0.9 ``bound``, ω is one over the spacing of a uniform grid on |z| ≤ ``bound``
    (1 for a basis without grid points), and the amplitudes are the least-squares fit of cos κz + sin κz on the range of
    BA. How large κ must be follows from n and r; whether the functions follow it is found out.

    Args:
        basis: Any.
        n: Rows and columns of the update.
        r: The rank of BA.
        num_functions: N.
        bound: Half-width of the range of BA and of the grid, in units of z.

    Raises:
        RankOutOfReachError: No polynomial of degree N can reach the rank (the basis says that it is one), or N
            functions do not follow cos κz + sin κz on the range closely enough. The latter says nothing of other
            matrices and parameters.
    """
    if basis.properties().polynomial and degree_rank_bound(r, num_functions) < n:
        raise RankOutOfReachError(
            f"a polynomial of degree {num_functions} gives rank {degree_rank_bound(r, num_functions)} at most at "
            f"r = {r}, not {n}"
        )
    sides = lattice_sides(n, r)
    # A whole number of half periods on the range, so that a harmonic of a periodic basis can be the very function. A
    # tenth of the range is left free: polynomials without a constant follow one only inside of their interval.
    harmonic = max(1, math.ceil(angle_range_for_full_rank(n, r) / (0.9 * math.pi) - 1e-12))
    kappa = math.pi * harmonic / bound
    points = torch.cartesian_prod(*[torch.arange(k, dtype=F64) - (k - 1) / 2 for k in sides]).view(n, r)
    B = points * torch.tensor([2 * math.pi / (k * kappa) for k in sides], dtype=F64)
    A = points.T.contiguous()
    z = B @ A
    grid = torch.linspace(-bound, bound, num_functions, dtype=F64)
    spacing = 2 * bound / max(num_functions - 1, 1)
    bandwidth = torch.full((num_functions,), 1 / spacing if basis.uses_grid else 1.0, dtype=F64)

    # On all of the range and not at the entries, or φ would be a comb of spikes where functions outnumber entries; and
    # denser towards its ends, where a polynomial through equidistant places goes astray (Runge, 1901).
    reach = float(z.abs().max())
    places = reach * torch.linspace(0, math.pi, 8 * num_functions, dtype=F64).cos()
    features = basis.matrix(places, grid, bandwidth)
    target = torch.cos(kappa * places) + torch.sin(kappa * places)
    a = torch.linalg.lstsq(features, target.unsqueeze(-1), driver="gelsd").solution.squeeze(-1)
    transfer = TransferFunction(basis, a, bandwidth, grid, residual=False, centered=False)
    sigma = torch.linalg.svdvals(transfer(z))
    smallest = float(sigma[-1] / sigma[0])
    # Weyl: an error in the entries of root mean square e moves a singular value by n e at most, so that the √n of the
    # orthogonal pattern outlives any e below 1/√n. Half the size of the exact pattern is a clear yes.
    if not (math.isfinite(smallest) and smallest >= 0.5):
        raise RankOutOfReachError(
            f"{num_functions} functions do not follow cos κz + sin κz with {harmonic} half periods on each side: "
            f"σ_min / σ_max = {smallest:.1e} at n = {n}, r = {r}; take more functions, or a larger r on less range"
        )
    return FullRank(A, B, transfer, smallest, float(sigma.square().sum() / sigma[0] ** 2), reach)


def difference_factors(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """B ``(m, 2)`` and A ``(2, n)`` with (BA)_ij = x_i − y_j: the rank-two product that turns a kernel into a matrix.

    Args:
        x: ``(m,)``.
        y: ``(n,)``.
    """
    B = torch.stack([x, torch.ones_like(x)], dim=1)
    A = torch.stack([torch.ones_like(y), -y])
    return B, A


def permutation_of_full_rank(basis: Basis, n: int) -> FullRank:
    """One function of compact support, n steps as wide as it, r = 2: the update is exactly a multiple of the identity.

    z_ij = (i − j) · support, so that |u| ≥ support off the diagonal, where the value is zero exactly.

    Raises:
        RankOutOfReachError: The basis names no support, or is zero at the centre of its function.
    """
    support = basis.properties().support
    if support is None:
        raise RankOutOfReachError("the construction needs a basis of compact support")
    x = support * torch.arange(n, dtype=F64)
    B, A = difference_factors(x, x)
    one = torch.ones(1, dtype=F64)
    transfer = TransferFunction(basis, one, one, torch.zeros(1, dtype=F64), residual=False, centered=False)
    update = transfer(B @ A)
    sigma = torch.linalg.svdvals(update)
    if sigma[0] == 0:
        raise RankOutOfReachError("the function is zero at its own centre")
    return FullRank(
        A, B, transfer, float(sigma[-1] / sigma[0]), float(sigma.square().sum() / sigma[0] ** 2), (n - 1) * support
    )

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
    """An update φ(BA) of full rank, of A ``(r, n)``, B ``(n, r)`` and φ, neither centred nor with a residual path."""

    A: Tensor
    B: Tensor
    transfer: TransferFunction

    @property
    def update(self) -> Tensor:
        """φ(BA), ``(n, n)``."""
        return self.transfer(self.B @ self.A)

    @property
    def reach(self) -> float:
        """max |BA|, in units of z."""
        return float((self.B @ self.A).abs().max())

    @property
    def smallest(self) -> float:
        """The smallest singular value of φ(BA), relative to the largest; NaN where an entry is not finite."""
        sigma = torch.linalg.svdvals(self.update)
        return float(sigma[-1] / sigma[0])


def angle_range_for_full_rank(n: int, r: int) -> float:
    """Return max |κ BA| of the lattice, in radians: Σ_l (π / 2) (k_l − 1)² / k_l, about (π / 2) r n^(1/r).

    >>> [round(angle_range_for_full_rank(256, r), 1) for r in (1, 2, 4, 8)]
    [399.0, 44.2, 14.1, 6.3]
    """
    return sum(math.pi / 2 * (k - 1) ** 2 / k for k in lattice_sides(n, r))


def lattice_sides(n: int, r: int) -> list[int]:
    """Return n as a product of r whole numbers that are as equal as a greedy choice makes them.

    >>> lattice_sides(64, 2), lattice_sides(768, 4), lattice_sides(7, 2)
    ([8, 8], [6, 8, 4, 4], [7, 1])
    """
    prime_factors, divisor = [], 2
    while n > 1:
        while n % divisor == 0:
            prime_factors.append(divisor)
            n //= divisor
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
    most = degree_rank_bound(r, num_functions)
    if basis.properties().polynomial and most < n:
        raise RankOutOfReachError(
            f"a polynomial of degree {num_functions} gives rank {most} at most at r = {r}, not {n}"
        )
    sides = lattice_sides(n, r)
    # A whole number of half periods on the range, so that a harmonic of a periodic basis can be the very function. A
    # tenth of the range is left free: polynomials without a constant follow one only inside of their interval.
    harmonic = max(1, math.ceil(angle_range_for_full_rank(n, r) / (0.9 * math.pi) - 1e-12))
    kappa = math.pi * harmonic / bound
    points = torch.cartesian_prod(*[torch.arange(k, dtype=F64) - (k - 1) / 2 for k in sides]).view(n, r)
    A, B = points.T.contiguous(), points * torch.tensor([2 * math.pi / (k * kappa) for k in sides], dtype=F64)
    grid = torch.linspace(-bound, bound, num_functions, dtype=F64)
    omega = max(num_functions - 1, 1) / (2 * bound) if basis.uses_grid else 1.0
    bandwidth = torch.full_like(grid, omega)

    # On all of the range and not at the entries, or φ would be a comb of spikes where functions outnumber entries; and
    # denser towards its ends, where a polynomial through equidistant places goes astray (Runge, 1901).
    places = float((B @ A).abs().max()) * torch.linspace(0, math.pi, 8 * num_functions, dtype=F64).cos()
    target = torch.cos(kappa * places) + torch.sin(kappa * places)
    features = basis.matrix(places, grid, bandwidth)
    a = torch.linalg.lstsq(features, target.unsqueeze(-1), driver="gelsd").solution.squeeze(-1)
    found = FullRank(A, B, TransferFunction(basis, a, bandwidth, grid, residual=False, centered=False))
    # Weyl: an error in the entries of root mean square e moves a singular value by n e at most, so that the √n of the
    # orthogonal pattern outlives any e below 1/√n. Half the size of the exact pattern is a clear yes.
    if not found.smallest >= 0.5:
        raise RankOutOfReachError(
            f"{num_functions} functions do not follow cos κz + sin κz with {harmonic} half periods on each side: "
            f"σ_min / σ_max = {found.smallest:.1e} at n = {n}, r = {r}; take more functions, or a larger r"
        )
    return found

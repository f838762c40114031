"""The best product of low rank for one matrix, and what it leaves over.

ΔW = φ(BA) has no factors that could be read off, so they are computed: the leading singular vectors, from the
eigenvectors of the Gram matrix of the smaller side, in float64. That takes no more memory than the smaller side squared
and is several times cheaper than a singular value decomposition where one side is much the longer, as in an embedding
(for a square it costs the same), and it is exact to about 1e-7 of the norm, which is what the float32 of the stored
factors loses anyway. The error that is reported is measured afterwards on the stored factors,
and not read off the spectrum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST_ERROR = 1e-5
"""Below this the Gram matrix does not tell singular values from rounding."""
OVERSAMPLING, SUBSPACE_ITERATIONS = 16, 4
_COLUMNS_AT_ONCE = 8192


@dataclass(frozen=True)
class Factors:
    """A product B A in place of a matrix M.

    Attributes:
        B: ``(m, r)``, float32.
        A: ``(r, n)``, float32. The singular values are spread over both, so that neither has entries so small that
            half precision would drop them.
        norm: ‖M‖, Frobenius.
        error: ‖M − BA‖ / ‖M‖, measured; 0 for M = 0.
    """

    B: Tensor
    A: Tensor
    norm: float
    error: float

    @property
    def rank(self) -> int:
        """r."""
        return self.A.shape[0]


class Spectrum:
    """The singular values of a matrix, and the singular vectors of its smaller side.

    Args:
        matrix: ``(m, n)``, finite, floating point.
    """

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        self._tall = matrix.shape[0] > matrix.shape[1]
        wide = matrix.T if self._tall else matrix
        gram = torch.zeros(len(wide), len(wide), dtype=torch.float64, device=wide.device)
        for part in torch.split(wide, _COLUMNS_AT_ONCE, dim=1):
            gram.addmm_(part.double(), part.double().T)
        squared = gram.trace()
        self.norm = float(squared.sqrt())
        # Eigenvectors of a matrix of norm one: entries of 1e-20 squared would be lost in it otherwise.
        values, vectors = torch.linalg.eigh(gram / squared if squared > 0 else gram)
        self._share = values.flip(0).clamp(min=0)
        self._vectors = vectors.flip(1)

    @property
    def errors(self) -> Tensor:
        """The smallest relative error at rank 0, 1, …, min(m, n): ``(min(m, n) + 1,)``, float64, falling."""
        tails = torch.cat([self._share, self._share.new_zeros(1)]).flip(0).cumsum(0).flip(0)
        return tails.sqrt()

    def rank_within(self, error: float) -> int:
        """The smallest rank, of at least 1, whose best product is within a relative error."""
        return max(1, int((self.errors > error).sum()))

    def factors(self, rank: int) -> Factors:
        """The best product of a rank, or of min(m, n) if that is less."""
        vectors = self._vectors[:, : min(rank, len(self._vectors))]
        wide = self._matrix.T if self._tall else self._matrix
        other = torch.cat([vectors.T @ part.double() for part in torch.split(wide, _COLUMNS_AT_ONCE, dim=1)], dim=1)
        root = other.norm(dim=1).sqrt()
        left, right = vectors * root, other / root.clamp(min=1e-300)[:, None]
        return _measured(self._matrix, *((right.T, left.T) if self._tall else (left, right)), self.norm)


def randomized_factors(matrix: Tensor, rank: int) -> Factors:
    """A nearly best product of a rank, from a random subspace: for weights too large for :class:`Spectrum`.

    The same at every call. Its error is measured like any other's, and is at least that of the best product; how much
    more depends on how fast the singular values fall.

    Args:
        matrix: ``(m, n)``, finite, floating point.
        rank: Of the product; min(m, n) if that is less.
    """
    norm = float(matrix.double().norm())
    size = min(matrix.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        U, S, V = torch.svd_lowrank(
            matrix.float() / (norm or 1.0), q=min(rank + OVERSAMPLING, size), niter=SUBSPACE_ITERATIONS
        )
    rank = min(rank, size)
    root = (S[:rank].double() * norm).sqrt()
    return _measured(matrix, U[:, :rank].double() * root, root[:, None] * V[:, :rank].double().T, norm)


def _measured(matrix: Tensor, B: Tensor, A: Tensor, norm: float) -> Factors:
    B, A = B.float().contiguous(), A.float().contiguous()
    left = 0.0
    for columns in range(0, matrix.shape[1], _COLUMNS_AT_ONCE):
        part = slice(columns, columns + _COLUMNS_AT_ONCE)
        left += float((matrix[:, part].double() - B.double() @ A[:, part].double()).square().sum())
    return Factors(B, A, norm, left**0.5 / norm if norm > 0 else 0.0)

"""Singular values, ranks and low-rank products: the linear algebra with which updates are measured and exported.

Every function runs on the device of its argument, in float64; on the CPU where the device has no float64. Matrices are
read in blocks of columns. The module imports nothing of the package, so that every part of the package can use it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

RESOLUTION = 1e-6
"""Singular values of an update below this, relative to σ_1, count as zero: entries in float32 do not determine them."""
SMALLEST_ERROR = 1e-5
"""The smallest relative error of a truncation that the eigenvalues of a Gram matrix tell from rounding."""
SPECTRUM_AT = (0.0, *(2.0 ** (-half / 2) for half in range(16, -1, -1)))
"""Relative indices k / (n − 1) at which a spectrum is recorded, n the smaller side of the matrix: 0, 1/256, …, 1."""

_GRAM_RESOLUTION = 1e-7
_OVERSAMPLING, _SUBSPACE_ITERATIONS = 16, 4
_COLUMNS, _ENTRIES = 8192, 2**22


def singular_values(matrix: Tensor, resolution: float = 0.0) -> Tensor:
    """Returns the singular values in descending order.

    With a resolution of 1e-7 or more they are the roots of the eigenvalues of the smaller Gram matrix, which takes a
    fraction of the time of a singular value decomposition.

    Args:
        matrix: ``(m, n)``, floating point.
        resolution: Relative to σ_1; singular values below it are returned as 0.

    Returns:
        ``(min(m, n),)``, float64; zeros for the zero matrix, NaN where the matrix is not finite.
    """
    scale = float(matrix.detach().abs().max())
    if scale == 0 or not math.isfinite(scale):
        return torch.full(
            (min(matrix.shape),), 0.0 if scale == 0 else math.nan, dtype=torch.float64, device=_exact(matrix[:0]).device
        )
    sigma: Tensor
    if resolution < _GRAM_RESOLUTION:
        sigma = torch.linalg.svdvals(_exact(matrix) / scale)
    else:
        sigma = torch.linalg.eigvalsh(_gram(_wide(matrix), scale)).flip(0).clamp_min(0).sqrt()
    return scale * torch.where(sigma < resolution * sigma[0], 0.0, sigma)


def stable_rank(matrix: Tensor) -> float:
    """Returns ‖M‖_F² / σ_1² (LR-LoRA paper, Equation 5), which is between 1 and the rank.

    Args:
        matrix: ``(m, n)``, or its singular values, ``(k,)``.

    Returns:
        The stable rank; 0 for the zero matrix, NaN where the matrix is not finite.

    >>> stable_rank(3 * torch.eye(4))
    4.0
    """
    sigma = _spectrum(matrix)
    return float((sigma / sigma[0]).square().sum()) if sigma[0] != 0 else 0.0


def effective_rank(matrix: Tensor) -> float:
    """Returns exp of the entropy of the singular values, normalised to a sum of 1 (Roy and Vetterli, 2007).

    Args:
        matrix: ``(m, n)``, or its singular values, ``(k,)``.

    Returns:
        The effective rank; 0 for the zero matrix, NaN where the matrix is not finite.

    >>> round(effective_rank(3 * torch.eye(4)), 6)
    4.0
    """
    sigma = _spectrum(matrix)
    return float(torch.special.entr(sigma / sigma.sum()).sum().exp()) if sigma[0] != 0 else 0.0


def sampled_spectrum(sigma: Tensor) -> tuple[float, ...]:
    """Returns σ_k / σ_1 at :data:`SPECTRUM_AT`, to four digits: a record of one length for every matrix.

    Args:
        sigma: Singular values in descending order, ``(k,)``.
    """
    relative = (sigma / sigma[0] if sigma[0] != 0 else sigma).tolist()
    return tuple(float(f"{relative[round(at * (len(relative) - 1))]:.4g}") for at in SPECTRUM_AT)


def nonlinear_fraction(delta: Tensor, product: Tensor) -> float:
    """Returns ‖ΔW − c·BA‖_F / ‖ΔW‖_F at the best constant c: 0 if φ is linear, at most 1; 0 for ΔW = 0.

    Args:
        delta: ΔW, of any shape.
        product: BA, of the same shape.
    """
    size = inner = square = rest = 0.0
    for d, p in _pairs(delta, product):
        size, inner, square = size + float(d @ d), inner + float(d @ p), square + float(p @ p)
    if size == 0:
        return 0.0
    c = inner / square if square != 0 else 0.0
    for d, p in _pairs(delta, product):  # a second pass, since ‖ΔW‖² − c²‖BA‖² loses half of the digits
        rest += float((d - c * p).square().sum())
    return math.sqrt(rest / size)


@dataclass(frozen=True)
class Factors:
    """A product BA in place of a matrix M.

    Attributes:
        B: ``(m, r)``, float32.
        A: ``(r, n)``, float32. The singular values are split evenly over both, so that half precision keeps them.
        norm: ‖M‖_F.
        error: ‖M − BA‖_F / ‖M‖_F, measured on the factors as stored; 0 for M = 0.
    """

    B: Tensor
    A: Tensor
    norm: float
    error: float

    @property
    def rank(self) -> int:
        """Returns r."""
        return self.A.shape[0]


class Truncation:
    """The best products of every rank for one matrix (Eckart and Young, 1936).

    The singular vectors of the smaller side are the eigenvectors of its Gram matrix. That takes no more memory than the
    smaller side squared, and is exact to about 1e-7 of the norm.

    Args:
        matrix: ``(m, n)``, finite, floating point.
    """

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        scale = float(matrix.detach().abs().max()) or 1.0
        gram = _gram(_wide(matrix), scale)
        squared = gram.trace()
        self.norm = scale * float(squared.sqrt())
        values, vectors = torch.linalg.eigh(gram)
        self._share = (values.flip(0).clamp_min(0) / squared) if squared > 0 else values
        self._vectors = vectors.flip(1)

    @property
    def errors(self) -> Tensor:
        """Returns the smallest relative error at rank 0, 1, …, min(m, n): ``(min(m, n) + 1,)``, float64, descending."""
        return torch.cat([self._share, self._share.new_zeros(1)]).flip(0).cumsum(0).flip(0).sqrt()

    def rank_within(self, error: float) -> int:
        """Returns the smallest rank, at least 1, whose best product has at most this relative error."""
        return max(1, int((self.errors > error).sum()))

    def factors(self, rank: int) -> Factors:
        """Returns the best product of a rank, or of min(m, n) if that is less."""
        return _project(self._matrix, self._vectors[:, :rank], self.norm)


def randomized_factors(matrix: Tensor, rank: int) -> Factors:
    """Returns a nearly best product from a random subspace, the same at every call (Halko et al., 2011, Algorithm 4.4).

    For matrices too large for :class:`Truncation`. How much the error is above the best one depends on how fast the
    singular values fall; it is measured.

    Args:
        matrix: ``(m, n)``, finite, floating point.
        rank: Of the product; min(m, n) if that is less.
    """
    norm = math.sqrt(sum(float(part.square().sum()) for part in _blocks(matrix)))
    wide = _wide(matrix).detach().float() / (norm or 1.0)
    probe = torch.randn(wide.shape[1], rank + _OVERSAMPLING, generator=torch.Generator().manual_seed(0))
    subspace = torch.linalg.qr(wide @ probe.to(wide.device)).Q
    for _ in range(_SUBSPACE_ITERATIONS):
        subspace = torch.linalg.qr(wide @ torch.linalg.qr(wide.T @ subspace).Q).Q
    inside = torch.linalg.eigh(_gram(subspace.T @ wide, 1.0)).eigenvectors.flip(1)[:, :rank]
    return _project(matrix, _exact(subspace) @ inside, norm)


def _project(matrix: Tensor, vectors: Tensor, norm: float) -> Factors:
    """The projection on singular vectors of the smaller side, ``(min(m, n), r)``, as factors."""
    other = torch.cat([vectors.T @ part for part in _blocks(_wide(matrix))], dim=1)
    root = other.norm(dim=1).sqrt()
    left, right = vectors * root, other / root.clamp_min(1e-300)[:, None]
    B, A = (right.T, left.T) if _is_tall(matrix) else (left, right)
    B, A = B.float().contiguous(), A.float().contiguous()
    rest, start = 0.0, 0
    for part in _blocks(matrix):
        rest += float((part - B.double() @ A[:, start : start + _COLUMNS].double()).square().sum())
        start += _COLUMNS
    return Factors(B.to(matrix.device), A.to(matrix.device), norm, math.sqrt(rest) / norm if norm > 0 else 0.0)


def _spectrum(matrix: Tensor) -> Tensor:
    return matrix if matrix.ndim == 1 else singular_values(matrix, RESOLUTION)


def _gram(wide: Tensor, scale: float) -> Tensor:
    """M Mᵀ of M / scale, ``(m, m)``: scaled, so that squares neither overflow nor vanish."""
    parts = (part / scale for part in _blocks(wide))
    first = next(parts)
    gram = first @ first.T
    for part in parts:
        gram.addmm_(part, part.T)
    return gram


def _is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def _wide(matrix: Tensor) -> Tensor:
    """The matrix or its transpose, with no more rows than columns."""
    return matrix.T if _is_tall(matrix) else matrix


def _blocks(matrix: Tensor) -> Iterator[Tensor]:
    return (_exact(part) for part in torch.split(matrix, _COLUMNS, dim=1))


def _pairs(first: Tensor, second: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Two tensors of one shape as vectors, in blocks."""
    blocks = (torch.split(tensor.flatten(), _ENTRIES) for tensor in (first, second))
    return ((_exact(a), _exact(b)) for a, b in zip(*blocks, strict=True))


def _exact(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()  # Apple's GPUs have no float64

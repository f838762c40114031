"""Measures of an update's spectrum. Each takes a matrix and gives a number; none depends on the matrix' scale."""

from __future__ import annotations

import torch
from torch import Tensor

RESOLUTION = 1e-6
"""Relative to σ_1: smaller singular values are taken to be zero. Entries in float32 tell no more."""

SPECTRUM_AT = (0.0, *(2.0 ** (-half / 2) for half in range(16, -1, -1)))
"""Relative indices k / (n − 1) at which a spectrum is recorded, n the smaller side of the matrix: 0, 1/256, …, 1."""


def stable_rank(matrix: Tensor) -> float:
    """‖M‖_F² / σ_max² (LR-LoRA paper, Equation 5): between 1 and the rank; 0 for the zero matrix.

    NaN where the matrix is not finite.

    >>> stable_rank(3 * torch.eye(4))
    4.0
    """
    return stable_rank_of(relative_spectrum(matrix))


def effective_rank(matrix: Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli, 2007); 0 for the zero matrix.

    >>> round(effective_rank(3 * torch.eye(4)), 6)
    4.0
    """
    return effective_rank_of(singular_values(matrix))


def relative_spectrum(matrix: Tensor) -> Tensor:
    """σ_k / σ_1, ``(min(m, n),)`` in float64, in descending order; zeros for the zero matrix.

    They are the roots of the eigenvalues of the smaller Gram matrix, which is a fraction of the work of a decomposition
    of M and exact to :data:`RESOLUTION`. NaN where the matrix is not finite.
    """
    m = matrix.detach()
    scale = m.abs().max()
    size = min(m.shape)
    if scale == 0 or not scale.isfinite():
        return torch.full((size,), 0.0 if scale == 0 else float("nan"), dtype=torch.float64, device=m.device)
    m = (m / scale).double()
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    squared = torch.linalg.eigvalsh(gram).flip(0)
    relative = (squared / squared[0]).clamp_min(0).sqrt()
    return torch.where(relative < RESOLUTION, 0.0, relative)


def stable_rank_of(sigma: Tensor) -> float:
    """The stable rank, from singular values relative to the largest."""
    return float(sigma.square().sum())


def effective_rank_of(sigma: Tensor) -> float:
    """The effective rank, from singular values on any scale."""
    if sigma.sum() == 0:
        return 0.0
    p = sigma / sigma.sum()
    return float(torch.exp(torch.special.entr(p).sum()))


def sampled_spectrum(sigma: Tensor) -> tuple[float, ...]:
    """A spectrum at :data:`SPECTRUM_AT`, to four digits: what a record keeps of it, whatever the size of the matrix."""
    last = len(sigma) - 1
    return tuple(float(f"{float(sigma[round(at * last)]):.4g}") for at in SPECTRUM_AT)


def singular_values(matrix: Tensor) -> Tensor:
    """Singular values, in descending order, in float64."""
    sigma: Tensor = torch.linalg.svdvals(matrix.detach().double())
    return sigma


def nonlinear_fraction(delta: Tensor, product: Tensor) -> float:
    """‖ΔW − c·BA‖_F / ‖ΔW‖_F at the best constant c: 0 where φ is a straight line, at most 1; 0 for ΔW = 0.

    Args:
        delta: ΔW, of any shape.
        product: BA, of the same shape.
    """
    d, p = delta.detach().double(), product.detach().double()
    size = d.norm()
    if size == 0:
        return 0.0
    square = p.square().sum()
    rest = d if square == 0 else d - ((d * p).sum() / square) * p
    return float(rest.norm() / size)

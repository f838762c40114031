"""Measures of an update's spectrum. Each takes a matrix and gives a number; none depends on the matrix' scale."""

from __future__ import annotations

import torch
from torch import Tensor


def stable_rank(matrix: Tensor) -> float:
    """‖M‖_F² / σ_max² (LR-LoRA paper, Equation 5): between 1 and the rank; 0 for the zero matrix.

    NaN where the matrix is not finite.

    >>> stable_rank(3 * torch.eye(4))
    4.0
    """
    m = matrix.detach()
    scale = m.abs().max()
    if scale == 0:
        return 0.0
    if not scale.isfinite():
        return float("nan")
    m = (m / scale).double()
    # σ_max² is the largest eigenvalue of the smaller Gram matrix: a fraction of the work of a decomposition of M, and
    # exact enough, since it is only the largest.
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    return float(gram.trace() / torch.linalg.eigvalsh(gram)[-1])


def effective_rank(matrix: Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli, 2007); 0 for the zero matrix.

    >>> round(effective_rank(3 * torch.eye(4)), 6)
    4.0
    """
    sigma = singular_values(matrix.detach())
    if sigma.sum() == 0:
        return 0.0
    p = sigma / sigma.sum()
    return float(torch.exp(torch.special.entr(p).sum()))


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

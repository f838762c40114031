"""Polynomials that vanish at 0 and are orthonormal where the entries of BA lie, at a few fixed nodes.

The entries of a product of two random matrices are nearly normal, and few lie near the ends of their range: a fit that
is best on the average over them takes half the degree of one that is as good everywhere. A share of the weight is even,
so that the fit stays sound in the tails and for entries that are not normal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from lrlora.engines.chebyshev import constant
from lrlora.engines.newton import HIGHEST_DEGREE, from_chebyshev, functions_at

NODES = 32
FUNCTIONS = NODES - 1
WIDER = 1.2
"""The normal weight is this much wider than the entries: trained ones have heavier tails than a normal distribution."""
EVEN_SHARE = 1e-3
"""Weight everywhere on the interval, as a share of the normal weight at its peak."""


@dataclass(frozen=True)
class WeightedBasis:
    """q_1 … q_31, of degrees 1 … 31, with q_j(0) = 0 and Σ_k w_k q_i(x_k) q_j(x_k) = δ_ij.

    Attributes:
        analysis: ``(31, 32)``, from values at the nodes, less that at 0, to coefficients.
        slopes: ``(31, 32)``, q_j'(x_k).
        terms: ``(28, 28)``, column j holds q_j in the functions P_1 … P_28 of :mod:`.newton`.
        heights: ``(28,)``, how large those are at entries of three times the spread.
        weight: ``(32,)``, sums to 1.
    """

    analysis: Tensor
    slopes: Tensor
    terms: Tensor
    heights: Tensor
    weight: Tensor


@lru_cache
def nodes() -> np.ndarray:
    """The Chebyshev nodes on [−1, 1], ``(32,)``."""
    return np.asarray(np.cos((np.arange(NODES) + 0.5) * (math.pi / NODES)))


LEVELS = 18


def level_of(spread: float) -> int:
    """The stored basis for entries whose root mean square is ``spread``, in (0, 1]: four to an octave."""
    return min(max(-round(4 * math.log2(spread)), 0), LEVELS - 1)


@constant
def weighted_bases(device: torch.device) -> WeightedBasis:
    """All levels, stacked along a leading dimension: ``(18, …)`` each."""
    each = [_basis(2 ** (-level / 4)) for level in range(LEVELS)]
    return WeightedBasis(*(torch.tensor(np.stack(part), device=device) for part in zip(*each, strict=True)))


def _basis(spread: float) -> tuple[np.ndarray, ...]:
    x = nodes()
    # The root is that of the quadrature at Chebyshev nodes.
    weight = np.asarray((np.exp(-0.5 * (x / (WIDER * spread)) ** 2) + EVEN_SHARE) * np.sqrt(1 - x**2))
    weight /= weight.sum()
    at_zero = np.asarray(chebyshev.chebval(0.0, np.eye(NODES)))
    series = np.eye(NODES)[:, 1:]
    series[0] = -at_zero[1:]  # T_j − T_j(0), j = 1 … 31, as columns of Chebyshev coefficients
    values = chebyshev.chebvander(x, FUNCTIONS) @ series
    _, triangle = np.linalg.qr(np.sqrt(weight)[:, None] * values)
    orthonormal = series @ np.linalg.inv(triangle)
    at_nodes = chebyshev.chebvander(x, FUNCTIONS) @ orthonormal
    slopes = np.stack([chebyshev.chebval(x, chebyshev.chebder(column)) for column in orthonormal.T])
    # Column j is of degree j + 1 and vanishes at 0, whatever rounding says.
    terms = np.triu(from_chebyshev(orthonormal[: HIGHEST_DEGREE + 1, :HIGHEST_DEGREE])[1:])
    within = np.linspace(-1, 1, 201) * min(1, 3 * spread)
    heights = np.abs(functions_at(within)).max(0)[1:]
    return at_nodes.T * weight, slopes, terms, heights, weight

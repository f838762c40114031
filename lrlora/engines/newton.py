"""The form that polynomials have here: Newton's, with its centres in t².

    P_2j = Π_{i<j} (4t² − s_i),   P_2j+1 = t · P_2j,   s_0 = 0,   the others by Leja's rule on [0, 4].

No P_k passes 10 on [−1, 1], where powers of t are so nearly dependent that their coefficients cancel in float32 past
degree 20; and an evaluation is as quick as Horner's, one chain of half as many steps. Since s_0 = 0, every function
but P_0 vanishes at 0, so that φ(0) is kept exactly. (Reichel, "Newton interpolation at Leja points", 1990.)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial import chebyshev, polynomial
from torch import Tensor

from lrlora.engines.chebyshev import constant

HIGHEST_DEGREE = 28


@lru_cache
def leja_points() -> np.ndarray:
    """s_0 …, ``(14,)``: each as far as can be from those before it, by the product of the distances."""
    places, found = np.linspace(0, 4, 4001), [0.0]
    while 2 * len(found) < HIGHEST_DEGREE:
        distances = np.prod(np.abs(places[:, None] - np.array(found)), axis=1)
        found.append(float(places[distances.argmax()]))
    return np.array(found)


@constant
def centres(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The same as a tensor."""
    return torch.tensor(leja_points(), dtype=dtype, device=device)


def functions_at(t: np.ndarray) -> np.ndarray:
    """P_0 … P_28 at points: ``(points, 29)``."""
    found, product = [], np.ones_like(t)
    for centre in leja_points():
        found += [product, product * t]
        product = product * (4 * t**2 - centre)
    return np.stack([*found, product], axis=1)


@lru_cache
def _in_chebyshev() -> np.ndarray:
    """Column k holds the Chebyshev series of P_k: ``(29, 29)``."""
    x = chebyshev.chebpts1(HIGHEST_DEGREE + 1)
    return np.asarray(np.linalg.solve(chebyshev.chebvander(x, HIGHEST_DEGREE), functions_at(x)))


def from_chebyshev(series: np.ndarray) -> np.ndarray:
    """Columns of Chebyshev coefficients, at most 29, to columns of coefficients of the P_k, ``(29, columns)``."""
    padded = np.zeros((HIGHEST_DEGREE + 1, series.shape[1]))
    padded[: len(series)] = series
    return np.asarray(np.linalg.solve(_in_chebyshev(), padded))


@constant
def derivative(device: torch.device) -> Tensor:
    """From the coefficients of a polynomial to those of its derivative: ``(28, 29)``."""
    return torch.tensor(from_chebyshev(chebyshev.chebder(_in_chebyshev()))[:-1], device=device)


@constant
def to_powers(degree: int, device: torch.device) -> Tensor:
    """From the coefficients of a polynomial of this degree to those of powers of t: ``(degree + 1, degree + 1)``."""
    matrix = np.zeros((degree + 1, degree + 1))
    product = np.array([1.0])
    for j in range(degree // 2 + 1):
        matrix[: 2 * j + 1, 2 * j] = product
        if 2 * j < degree:
            matrix[1 : 2 * j + 2, 2 * j + 1] = product
        if 2 * j + 2 <= degree:
            product = polynomial.polymul(product, [-leja_points()[j], 0.0, 4.0])
    return torch.tensor(matrix, device=device)

"""f as a polynomial in t = z / ρ, fitted where the entries of z lie.

The polynomial is a weighted least-squares fit at fixed points, so that its coefficients are a fixed matrix times the
values of f there. The degree is the lowest that follows

- f, for ΔW, to 0.4 of the tolerance in the weighted root mean square;
- the derivative of f, for the gradients of A and B, to :data:`SLOPE`;
- the functions that the gradient of θ sums, whatever the amplitudes are at present, to :data:`BENDING` of their
  nonlinear part. Without this a φ that is linear at the start would be fitted by degree 1, and could never bend.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from lrlora.engines.entries import Array
from lrlora.transfer import TransferFunction

SLOPE = 1e-2
BENDING = 0.2
NEGLIGIBLE = 1e-3
"""Share of the whole of a function below which its nonlinear part need not be followed."""

VERIFIED = 64
"""Entries at which a fit is compared with f."""

EDGES = 1e-4
"""Weight given to the whole range beside that of where entries lie, so that the polynomial is bounded everywhere."""


@dataclass(frozen=True)
class PolynomialFit:
    """A polynomial in t = z / ρ.

    Attributes:
        rho: ρ.
        degree: d.
        points: Where f is evaluated, ``(p,)``, in units of z.
        matrix: From the values of f there to the coefficients of T_0 … T_d, ``(d + 1, p)``, float64.
        values: The present coefficients of s_out-free f, ``(d + 1,)``.
        error: Weighted relative error of f.
    """

    rho: float
    degree: int
    points: Array
    matrix: Array
    values: Array
    error: float

    def in_powers(self) -> tuple[Array, Array]:
        """Returns the matrix and the values for coefficients of 1, t … t^d instead."""
        to_powers = _to_powers(self.degree)
        return to_powers @ self.matrix, to_powers @ self.values


def fit_polynomial(
    transfer: TransferFunction,
    z: Array,
    rho: float,
    tolerance: float,
    *,
    highest: int,
    warp: int = 1,
    growth: float = 1.0,
) -> PolynomialFit | None:
    """Fits f on [−ρ, ρ].

    Args:
        transfer: The function.
        z: A sample of entries, in ascending order.
        rho: ρ.
        tolerance: Relative error allowed in ΔW.
        highest: Largest degree to try.
        warp: 1: points at Chebyshev nodes; 2: at the squares of evenly spaced numbers, for entries that lie close to 0.
        growth: Entries are taken to be up to this factor larger.

    Returns:
        The fit of lowest degree, or None if none is good enough.
    """
    t, edges = _points(highest, warp)
    weight = _weights(z, rho * edges, growth)
    points, some = rho * t, _some(z)
    f, features = values_at(transfer, np.concatenate([points, some]))
    f, f_of_some, features = f[: len(points)], f[len(points) :], features[: len(points)]
    design = _vandermonde(highest, warp, transfer.centered)
    root = np.sqrt(weight)[:, None]
    # By PyTorch: threads that NumPy's LAPACK starts go on spinning beside PyTorch's own.
    q, r = (factor.numpy() for factor in torch.linalg.qr(torch.from_numpy(root * design[0])))
    if not (np.isfinite(f).all() and np.isfinite(features).all()):
        return None
    in_f, in_features = q.T @ (root[:, 0] * f), q.T @ (root * features)

    whole = weight @ f**2
    left = np.maximum(whole - np.cumsum(in_f**2), 0.0)  # what each degree leaves over of f
    slopes = np.linalg.solve(r.T, design[1].T).T * in_f
    remaining = np.cumsum(slopes[:, ::-1], axis=1)[:, ::-1]  # derivative of what each degree leaves over
    slope_left = weight @ remaining**2
    of_features = np.sum((root * features) ** 2)
    features_left = np.maximum(of_features - np.cumsum(np.sum(in_features**2, axis=1)), 0.0)

    first = 0 if transfer.centered else 1  # column of T_1
    error = np.sqrt(left / whole) if whole > 0 else np.zeros_like(left)
    if some.any():
        # The same at entries themselves, which may lie between the points.
        terms = np.linalg.solve(r.T, _columns(some / rho, highest, transfer.centered).T).T * in_f
        misses = np.linalg.norm(np.cumsum(terms, axis=1) - f_of_some[:, None], axis=0)
        error = np.maximum(error, misses / max(float(np.linalg.norm(f_of_some)), np.finfo(float).tiny))
    steep = np.append(slope_left[1:], 0.0) / slope_left[first] if slope_left[first] > 0 else np.zeros_like(left)
    bent = features_left <= BENDING**2 * features_left[first] + NEGLIGIBLE**2 * of_features
    good = (error <= 0.4 * tolerance) & (np.sqrt(steep) <= SLOPE) & bent
    good[:first] = False
    if not good.any():
        return None
    column = int(np.argmax(good))
    degree = column + 1 - first
    matrix = np.linalg.solve(r[: column + 1, : column + 1], (root * q[:, : column + 1]).T)
    if transfer.centered:
        # Columns are T_k − T_k(0): the constant is what the others have at 0, so that f(0) = 0 exactly.
        matrix = np.concatenate([-_at_zero(degree)[1:][None] @ matrix, matrix])
    return PolynomialFit(rho, degree, points, matrix, matrix @ f, float(error[column]))


@torch.no_grad()
def values_at(transfer: TransferFunction, points: Array) -> tuple[Array, Array]:
    """Returns f and the functions that its amplitudes weigh at points, ``(p,)`` and ``(p, N)``, float64."""
    at: Tensor = torch.from_numpy(points)
    # To the CPU first: not every device has float64.
    cpu = TransferFunction(
        transfer.basis,
        transfer.amplitude.cpu(),
        transfer.bandwidth.cpu(),
        transfer.grid.cpu(),
        shape={name: value.cpu() for name, value in transfer.shape.items()},
    ).to(torch.float64)
    features = cpu.features(torch.cat([at, at.new_zeros(1)]))
    features = features[:-1] - features[-1] if transfer.centered else features[:-1]
    phi = features @ cpu.amplitude
    return (at + phi if transfer.residual else phi).numpy(), features.numpy()


# -- constants, made once for each size -----------------------------------------------------------------------


@lru_cache(maxsize=16)
def _points(highest: int, warp: int) -> tuple[Array, Array]:
    """Points t on [−1, 1], symmetric, and the edges of the cells of |t| around those that are positive."""
    half = highest + 4 if warp == 1 else 20
    if warp == 1:
        t = np.cos((np.arange(half) + 0.5) * np.pi / (2 * half))[::-1]
        edges = np.cos(np.arange(half + 1) * np.pi / (2 * half))[::-1].copy()
    else:
        t = ((np.arange(half) + 0.5) / half) ** warp
        edges = (np.arange(half + 1) / half) ** warp
    edges[0], edges[-1] = 0.0, np.inf
    return np.concatenate([-t[::-1], t]), edges


def _some(z: Array) -> Array:
    """Returns at most :data:`VERIFIED` of the sorted entries, evenly spaced in their order."""
    if z.size <= VERIFIED:
        return z
    return np.asarray(z[np.linspace(0, z.size - 1, VERIFIED).round().astype(int)])


def _columns(t: Array, highest: int, centered: bool) -> Array:
    values = chebyshev.chebvander(t, highest)
    return np.asarray((values - _at_zero(highest))[:, 1:] if centered else values)


def _weights(z: Array, edges: Array, growth: float) -> Array:
    count = shares(z, edges)
    if growth > 1:
        count = (count + shares(z, edges / growth)) / 2
    # Few entries tell little: others may lie anywhere in their cells.
    weight = count + max(EDGES, 1 / (1 + z.size)) / len(count)
    weight /= 2 * weight.sum()
    return np.concatenate([weight[::-1], weight])


def shares(z: Array, edges: Array) -> Array:
    """Returns the share of the sorted entries ``z`` whose size lies between neighbouring edges, ``(edges - 1,)``."""
    below = np.searchsorted(z, edges) - np.searchsorted(z, -edges, side="right")
    return np.diff(below) / max(1, z.size)


@lru_cache(maxsize=32)
def _vandermonde(highest: int, warp: int, centered: bool) -> tuple[Array, Array]:
    """T_k and T_k' at the points, ``(p, columns)`` each; T_k − T_k(0) for k ≥ 1 if centred, else T_k for k ≥ 0."""
    t, _ = _points(highest, warp)
    slopes = np.stack([chebyshev.chebval(t, chebyshev.chebder(row)) for row in np.eye(highest + 1)], axis=1)
    return _columns(t, highest, centered), slopes[:, 1:] if centered else slopes


@lru_cache(maxsize=64)
def _at_zero(degree: int) -> Array:
    return np.asarray(chebyshev.chebvander(np.zeros(1), degree)[0])


@lru_cache(maxsize=64)
def _to_powers(degree: int) -> Array:
    """From coefficients of T_0 … T_d to those of 1, t … t^d, ``(d + 1, d + 1)``."""
    columns = [np.pad(p := chebyshev.cheb2poly(row), (0, degree + 1 - len(p))) for row in np.eye(degree + 1)]
    return np.stack(columns, axis=1)

"""Matrices and parameters that the laws are tried on: generic, repeatable, and of a known range."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lrlora.bases import Basis
from lrlora.transfer import TransferFunction

UNIT = 2.0**-53
"""The unit roundoff of float64."""


def drawn_pair(seed: int, m: int, n: int, r: int, bound: float) -> tuple[Tensor, Tensor]:
    """Normal B ``(m, r)`` and A ``(r, n)`` in float64, scaled so that max |BA| is ``bound``."""
    generator = torch.Generator().manual_seed(seed)
    B = torch.randn(m, r, dtype=torch.float64, generator=generator)
    A = torch.randn(r, n, dtype=torch.float64, generator=generator)
    return B, A * (bound / (B @ A).abs().max())


def whole_pair(seed: int, m: int, n: int, r: int, largest: int = 4) -> tuple[Tensor, Tensor]:
    """B and A of whole numbers up to ``largest``, so that BA and its small powers are exact in float64."""
    generator = torch.Generator().manual_seed(seed)
    B = torch.randint(-largest, largest + 1, (m, r), generator=generator)
    A = torch.randint(-largest, largest + 1, (r, n), generator=generator)
    return B.double(), A.double()


def drawn_theta(seed: int, n: int, reach: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """a with no small entry, ω in [0.7, 1.4] and ascending grid points in [−reach, reach], ``(n,)`` each."""
    generator = torch.Generator().manual_seed(seed + 1)
    signs = 2.0 * torch.randint(0, 2, (n,), generator=generator) - 1
    a = signs * torch.empty(n, dtype=torch.float64).uniform_(0.5, 1.5, generator=generator)
    bandwidth = torch.empty(n, dtype=torch.float64).uniform_(0.7, 1.4, generator=generator)
    grid = torch.empty(n, dtype=torch.float64).uniform_(-reach, reach, generator=generator).sort().values
    return a, bandwidth, grid


def drawn_transfer(
    basis: Basis, seed: int, n: int, *, residual: bool = False, centered: bool = False
) -> TransferFunction:
    """φ of n functions of a basis at drawn parameters."""
    a, bandwidth, grid = drawn_theta(seed, n)
    return TransferFunction(basis, a, bandwidth, grid, residual=residual, centered=centered)


def slopes(basis: Basis, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
    """|ψ_i'(z)|, ``(..., N)``: by how much an error in z is magnified."""
    at = z.detach().clone().requires_grad_()
    values = basis.matrix(at, grid, bandwidth)
    columns = []
    for i in range(values.shape[-1]):
        column = values[..., i].sum()
        slope = (
            torch.autograd.grad(column, at, retain_graph=True, allow_unused=True)[0] if column.requires_grad else None
        )
        columns.append(torch.zeros_like(at) if slope is None else slope.abs())
    return torch.stack(columns, dim=-1)


def rounding_of_features(basis: Basis, z: Tensor, grid: Tensor, bandwidth: Tensor, shift: float = 0.0) -> Tensor:
    """A bound on what rounding does to ψ_i(z) in float64, ``(..., N)``.

    A kernel's argument ω (z − z_i) is off by a few units in the last place of |z| + |z_i| (and of ``shift``, where z
    was moved by it), which the slope magnifies; the kernel's own arithmetic is off by a few units in the last place of
    what it adds up, which is 1 and more for any sum that ends as a bump. 64 units stand for "a few": the longest chain
    here, the twelve operations of a B-spline of degree 5 whose terms reach several times its value, stays within them.
    """
    values = basis.matrix(z, grid, bandwidth).detach().abs()
    lengths = (z.abs() + abs(shift)).unsqueeze(-1) + grid.abs()
    largest = torch.maximum(values, values.flatten(0, -2).amax(0).clamp_min(1.0))
    return 64 * UNIT * (largest + lengths * slopes(basis, z, grid, bandwidth))


def rounding_of_matrix(f: TransferFunction, z: Tensor) -> float:
    """A bound on the spectral norm of what rounding does to f(Z), of its entries and of a decomposition of it.

    The entries' errors add up to √(mn) times the largest at most; LAPACK's backward error is a modest multiple of
    max(m, n) units of ‖f(Z)‖_2, which is at most the Frobenius norm.
    """
    entry = rounding_of_features(f.basis, z, f.grid, f.bandwidth) @ f.amplitude.abs() + 2 * UNIT * z.abs()
    norm = float(f(z).detach().norm())
    return math.sqrt(z.numel()) * float(entry.max()) + 8 * max(z.shape) * UNIT * norm

"""What the amplitudes a start from."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.bases import Basis
from lrlora.bases.options import number
from lrlora.policies.kind import PolicyKind


@dataclass(frozen=True)
class Start:
    """All that an initialisation may look at, for one adapted weight.

    Attributes:
        basis: The basis.
        grid: Grid points, ``(N,)``, float64.
        bandwidth: Bandwidths ω, ``(N,)``, float64.
        bound: Half-width g of the grid interval.
        depth: Place of the weight's layer in the model, from 0 for the first to 1 for the last.
    """

    basis: Basis
    grid: Tensor
    bandwidth: Tensor
    bound: float
    depth: float


class AmplitudeInit(ABC):
    """Gives the amplitudes their first values."""

    @abstractmethod
    def values(self, start: Start) -> Tensor:
        """The amplitudes, ``(N,)``, float64."""


AMPLITUDES: PolicyKind[AmplitudeInit] = PolicyKind(
    AmplitudeInit,
    field="amplitude_init",
    group="lrlora.amplitudes",
    check="check_amplitude_init",
    default=None,
    about="What the amplitudes a start from.",
)


@AMPLITUDES.builtin("zero")
@dataclass(frozen=True)
class Zero(AmplitudeInit):
    """a = 0, as published. With ``residual=False`` and ``centered=True`` nothing would train: a config refuses that."""

    def values(self, start: Start) -> Tensor:
        return torch.zeros_like(start.grid)


@AMPLITUDES.builtin("small")
@dataclass(frozen=True)
class Small(AmplitudeInit):
    """Normal with a small standard deviation.

    Args:
        std: The standard deviation.
    """

    std: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", number("std of amplitude_init 'small'", self.std, least=0))

    def values(self, start: Start) -> Tensor:
        return torch.randn_like(start.grid).mul_(self.std)


@AMPLITUDES.builtin("random")
@dataclass(frozen=True)
class Random(AmplitudeInit):
    """Normal with variance 1/N, so that φ is of order one whatever N is."""

    def values(self, start: Start) -> Tensor:
        return torch.randn_like(start.grid).div_(len(start.grid) ** 0.5)


@AMPLITUDES.builtin("unit")
@dataclass(frozen=True)
class Unit(AmplitudeInit):
    """a = 1, the unit start of the paper's Table 18."""

    def values(self, start: Start) -> Tensor:
        return torch.ones_like(start.grid)


@AMPLITUDES.builtin("identity")
@dataclass(frozen=True)
class Identity(AmplitudeInit):
    """The least-squares fit of φ(z) − φ(0) = z on the grid interval: the adapter starts as LoRA does.

    Args:
        tolerance: Root-mean-square error of the fit, relative to that of z, above which a warning says that this basis
            cannot represent a linear function.
    """

    tolerance: float = 0.02

    def __post_init__(self) -> None:
        object.__setattr__(self, "tolerance", number("tolerance of amplitude_init 'identity'", self.tolerance, least=0))

    def values(self, start: Start) -> Tensor:
        count = 8 * len(start.grid) + 1
        z, features = _centred(start, count)
        if not features.isfinite().all():
            where = z[~features.isfinite().all(-1)][0]
            raise ValueError(f"amplitude_init='identity': basis {start.basis!r} is not finite at z = {float(where):g}")
        # Overlapping functions make the fit rank-deficient: the solution of least norm, through a cut-off, stays small.
        fit = torch.linalg.lstsq(features, z[:, None], rcond=1e-8, driver="gelsd")
        solution: Tensor = fit.solution[:, 0]
        # Measured between the points of the fit as well: a ripple may be zero at all of them.
        z, features = _centred(start, 3 * count + 1)
        error = float((features @ solution - z).norm() / z.norm())
        if error > self.tolerance:
            warnings.warn(
                f"amplitude_init='identity': the best linear fit by basis {start.basis!r} with "
                f"{len(start.grid)} grid points is {error:.1%} off; residual=True starts as LoRA does, for every basis",
                stacklevel=2,
            )
        return solution


def _centred(start: Start, count: int) -> tuple[Tensor, Tensor]:
    """Returns ``count`` points z on the interval, and ψ_i(z) − ψ_i(0), ``(count, N)``."""
    z = torch.linspace(-start.bound, start.bound, count, dtype=torch.float64)
    at_zero = start.basis.matrix(torch.zeros((), dtype=z.dtype), start.grid, start.bandwidth)
    return z, start.basis.matrix(z, start.grid, start.bandwidth) - at_zero


@AMPLITUDES.builtin("by_depth")
@dataclass(frozen=True)
class ByDepth(AmplitudeInit):
    """Normal, with a standard deviation that is linear in the depth of the layer.

    Args:
        first: Standard deviation in the first layer.
        last: Standard deviation in the last layer.
    """

    first: float = 0.0
    last: float = 0.1

    def __post_init__(self) -> None:
        for name, std in vars(self).items():
            object.__setattr__(self, name, number(f"{name} of amplitude_init 'by_depth'", std, least=0))

    def values(self, start: Start) -> Tensor:
        std = self.first + (self.last - self.first) * start.depth
        return torch.randn_like(start.grid).mul_(std)

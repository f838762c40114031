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
        """See :meth:`AmplitudeInit.values`."""
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
        """See :meth:`AmplitudeInit.values`."""
        return torch.randn_like(start.grid).mul_(self.std)


@AMPLITUDES.builtin("random")
@dataclass(frozen=True)
class Random(AmplitudeInit):
    """Normal with variance 1/N, so that φ is of order one whatever N is."""

    def values(self, start: Start) -> Tensor:
        """See :meth:`AmplitudeInit.values`."""
        return torch.randn_like(start.grid).div_(len(start.grid) ** 0.5)


@AMPLITUDES.builtin("unit")
@dataclass(frozen=True)
class Unit(AmplitudeInit):
    """a = 1, the unit start of the paper's Table 18."""

    def values(self, start: Start) -> Tensor:
        """See :meth:`AmplitudeInit.values`."""
        return torch.ones_like(start.grid)


@AMPLITUDES.builtin("identity")
@dataclass(frozen=True)
class Identity(AmplitudeInit):
    """The least-squares fit of φ(z) − φ(0) = z on the grid interval: the adapter starts as LoRA does.

    Args:
        tolerance: Root-mean-square error of the fit, relative to that of z, past which a warning says that this basis
            cannot represent a straight line.
    """

    tolerance: float = 0.02

    def __post_init__(self) -> None:
        object.__setattr__(self, "tolerance", number("tolerance of amplitude_init 'identity'", self.tolerance, least=0))

    def values(self, start: Start) -> Tensor:
        """See :meth:`AmplitudeInit.values`.

        Raises:
            ValueError: The basis is not finite somewhere on the interval.
        """
        count = 8 * len(start.grid) + 1
        z = torch.linspace(-start.bound, start.bound, count, dtype=torch.float64)
        features = _centred(start, z)
        if not features.isfinite().all():
            where = z[~features.isfinite().all(-1)][0]
            raise ValueError(f"amplitude_init='identity': basis {start.basis!r} is not finite at z = {float(where):g}")
        # Overlapping functions make the fit rank-deficient: the solution of least norm, through a cut-off, stays small.
        fit = torch.linalg.lstsq(features, z[:, None], rcond=1e-8, driver="gelsd")
        solution: Tensor = fit.solution[:, 0]
        # Judged between the points of the fit as well: a ripple may be zero at all of them.
        z = torch.linspace(-start.bound, start.bound, 3 * count + 1, dtype=torch.float64)
        error = float(torch.linalg.vector_norm(_centred(start, z) @ solution - z) / torch.linalg.vector_norm(z))
        if error > self.tolerance:
            warnings.warn(
                f"amplitude_init='identity': the best fit of a straight line by basis {start.basis!r} with "
                f"{len(start.grid)} grid points is {error:.1%} off; residual=True starts as LoRA does, for every basis",
                stacklevel=2,
            )
        return solution


def _centred(start: Start, z: Tensor) -> Tensor:
    """ψ_i(z) − ψ_i(0), ``(len(z), N)``."""
    origin = torch.zeros((), dtype=z.dtype)
    values = start.basis.matrix(z, start.grid, start.bandwidth)
    return values - start.basis.matrix(origin, start.grid, start.bandwidth)


@AMPLITUDES.builtin("by_depth")
@dataclass(frozen=True)
class ByDepth(AmplitudeInit):
    """Normal, with a standard deviation that goes linearly from the first layer to the last.

    Args:
        first: Standard deviation in the first layer.
        last: Standard deviation in the last layer.
    """

    first: float = 0.0
    last: float = 0.1

    def __post_init__(self) -> None:
        for name in ("first", "last"):
            std = number(f"{name} of amplitude_init 'by_depth'", getattr(self, name), least=0)
            object.__setattr__(self, name, std)

    def values(self, start: Start) -> Tensor:
        """See :meth:`AmplitudeInit.values`."""
        std = self.first + (self.last - self.first) * start.depth
        return torch.randn_like(start.grid).mul_(std)

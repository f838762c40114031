"""Policies with one fault each: what the checks of the conformance kit are proved on."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from gallery import Gallery
from torch import Tensor

from lrlora.policies import (
    AmplitudeInit,
    BandwidthInit,
    Grid,
    InputScale,
    PositiveMap,
    Start,
)

F64 = torch.float64
FAULTS = Gallery()
found_by = FAULTS.found_by


def line(num: int, bound: float) -> Tensor:
    return torch.linspace(-bound, bound, num, dtype=F64) if num > 1 else torch.zeros(1, dtype=F64)


# -- grids --------------------------------------------------------------------------------------------------


@found_by("check_points", "points(1, 0.5) is (2,), not a tensor of shape (1,)")
@dataclass(frozen=True)
class OnePointTooMany(Grid):
    def points(self, num: int, bound: float) -> Tensor:
        return line(num + 1, bound)


@found_by("check_points", "points(1, 0.5) is not finite: entry 0")
@dataclass(frozen=True)
class DividesByNMinusOne(Grid):
    def points(self, num: int, bound: float) -> Tensor:
        return torch.arange(num, dtype=F64) / torch.tensor(num - 1, dtype=F64) * 2 * bound - bound


@found_by("check_points", "points(2, 0.5) does not increase: point 0 is 0.5, point 1 is -0.5")
@dataclass(frozen=True)
class Backwards(Grid):
    def points(self, num: int, bound: float) -> Tensor:
        return line(num, bound).flip(0)


@found_by("check_points", "outside of ±0.5")
@dataclass(frozen=True)
class NormalPoints(Grid):
    def points(self, num: int, bound: float) -> Tensor:
        return torch.randn(num, dtype=F64).mul(bound).sort().values


@found_by("check_scales_with_the_bound", "of ±3 and at")
@dataclass(frozen=True)
class ForgetsTheBound(Grid):
    def points(self, num: int, bound: float) -> Tensor:
        return line(num, min(bound, 3.0))


@found_by("check_repeatable", "under the same seed of PyTorch")
@dataclass(frozen=True)
class DrawsFromNumPy(Grid):
    generator: ClassVar[np.random.Generator] = np.random.default_rng()

    def points(self, num: int, bound: float) -> Tensor:
        return torch.from_numpy(self.generator.uniform(-bound, bound, num)).sort().values


@found_by("check_disturbs_nothing", "the state of Python's random numbers")
@dataclass(frozen=True)
class SeedsPython(Grid):
    def points(self, num: int, bound: float) -> Tensor:
        random.seed(0)
        return torch.tensor([random.uniform(-bound, bound) for _ in range(num)], dtype=F64).sort().values


@found_by("check_disturbs_nothing", "PyTorch's default dtype")
@dataclass(frozen=True)
class SetsTheDefaultDtype(Grid):
    def points(self, num: int, bound: float) -> Tensor:
        torch.set_default_dtype(F64)
        return line(num, bound)


@found_by("check_written_down", "is no frozen dataclass")
class NoDataclass(Grid):
    def points(self, num: int, bound: float) -> Tensor:
        return line(num, bound)


@found_by("check_written_down", "its options cannot be saved")
@dataclass(frozen=True)
class HoldsAList(Grid):
    shares: tuple[float, ...] = (0.5, 0.5)
    weights: list[float] = field(default_factory=lambda: [1.0], hash=False)

    def points(self, num: int, bound: float) -> Tensor:
        return line(num, bound)


@found_by("check_points", "learned is 'yes', a str and no bool")
@dataclass(frozen=True)
class LearnedInWords(Grid):
    learned: ClassVar[bool] = "yes"  # type: ignore[assignment]

    def points(self, num: int, bound: float) -> Tensor:
        return line(num, bound)


# -- starts -------------------------------------------------------------------------------------------------


@found_by("check_amplitudes", "basis polynomial, N = 1")
@dataclass(frozen=True)
class OneForEachKnot(AmplitudeInit):
    """Takes every basis for a shifted one."""

    def values(self, start: Start) -> Tensor:
        return torch.zeros(len(start.grid) + (0 if start.basis.uses_grid else 1), dtype=F64)


@found_by("check_amplitudes", "changes the grid that it is shown")
@dataclass(frozen=True)
class InPlace(AmplitudeInit):
    def values(self, start: Start) -> Tensor:
        return start.grid.mul_(0.5).clone()


@found_by("check_repeatable", "where the default dtype is float16")
@dataclass(frozen=True)
class DrawsInTheDefaultDtype(AmplitudeInit):
    def values(self, start: Start) -> Tensor:
        return torch.randn(len(start.grid)).double()


@found_by("check_bandwidths", "value(0.0) is 0, no positive finite number")
@dataclass(frozen=True)
class FromZero(BandwidthInit):
    def value(self, depth: float) -> float:
        return 2.0 * depth


@found_by("check_bandwidths", "is a Tensor, not a float")
@dataclass(frozen=True)
class AsATensor(BandwidthInit):
    def value(self, depth: float) -> float:
        return torch.ones(())  # type: ignore[return-value]


@found_by("check_positive", "no positive finite number")
@dataclass(frozen=True)
class Square(PositiveMap):
    def forward(self, raw: Tensor) -> Tensor:
        return raw**2

    def inverse(self, omega: Tensor) -> Tensor:
        return omega.sqrt()


@found_by("check_bijection", "forward(inverse(ω))")
@dataclass(frozen=True)
class WrongInverse(PositiveMap):
    def forward(self, raw: Tensor) -> Tensor:
        return raw.exp()

    def inverse(self, omega: Tensor) -> Tensor:
        return omega.log2()


@found_by("check_smooth", "at 0 the gradient is")
@dataclass(frozen=True)
class TwoHalves(PositiveMap):
    """Steeper on the right of zero than on the left."""

    def forward(self, raw: Tensor) -> Tensor:
        return torch.where(raw > 0, 1 + 2 * raw.clamp_min(0), raw.clamp_max(0).exp())

    def inverse(self, omega: Tensor) -> Tensor:
        return torch.where(omega > 1, (omega - 1) / 2, omega.log())


@found_by("check_scales", "value(1, 1, 1) is 0")
@dataclass(frozen=True)
class LogarithmOfTheWidth(InputScale):
    def value(self, in_features: int, out_features: int, r: int) -> float:
        return math.log(in_features)


@found_by("check_repeatable", "answers differently")
@dataclass(frozen=True)
class CountsCalls(InputScale):
    calls: ClassVar[itertools.count[int]] = itertools.count(1)

    def value(self, in_features: int, out_features: int, r: int) -> float:
        return float(next(self.calls))


@dataclass(frozen=True)
class DrawnScale(InputScale):
    """Another one whenever the adapter is made; registered by the test of it, since only a named policy is saved."""

    def value(self, in_features: int, out_features: int, r: int) -> float:
        return 1.0 + float(torch.rand(()))

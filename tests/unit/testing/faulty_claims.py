"""Bases with one false claim each, or with one fault that shows in an engine or an adapter; see ``faulty_bases``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from faulty_bases import bell, found_by
from torch import Tensor

from lrlora.bases import Basis, Properties, ShiftedBasis

# -- claims -----------------------------------------------------------------------------------------------------------


class Claiming(ShiftedBasis):
    """A bell that claims something."""

    claims: ClassVar[Any] = Properties()

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u)

    def properties(self) -> Properties:
        return self.claims  # type: ignore[no-any-return]


@found_by("check_claims", "must return Properties")
class ClaimsADictionary(Claiming):
    claims = {"parity": "even"}  # noqa: RUF012


@found_by("check_claims", "claims the parity 'evn'")
class MisspeltParity(Claiming):
    claims = Properties(parity="evn")  # type: ignore[arg-type]


@found_by("check_claims", "claims the period -1.0")
class NegativePeriod(Claiming):
    claims = Properties(period=-1.0)


@found_by("check_claims", "claims a support and smoothness inf")
class CompactAndAnalytic(Claiming):
    claims = Properties(support=4.0, smoothness=math.inf)


@found_by("check_parity", "claims parity 'even', but ψ_1 is not even", "at u = ")
class LopsidedByALittle(Claiming):
    claims = Properties(parity="even")

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u) * (1 + 1e-6 * u.tanh())


@found_by("check_parity", "ψ_1 is not even or odd")
class NeitherEvenNorOdd(Claiming):
    claims = Properties(parity="definite")

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u - 0.1)


@found_by("check_period", "claims the period 6.2 in u")
class WrongPeriod(Claiming):
    claims = Properties(period=6.2)

    def kernel(self, u: Tensor) -> Tensor:
        return u.sin()


@found_by("check_support", "claims to vanish for |u| ≥ 2", "(u = 2) in ψ_1, float64")
class TooSmallSupport(Claiming):
    claims = Properties(support=2.0)


@found_by("check_support", "claims to vanish for |u| ≥ 2", "e-1")
class NearlyNothingOutside(Claiming):
    """(2 − |u|)³ from powers that cancel in the reals and not in floating point."""

    claims = Properties(support=2.0)

    def kernel(self, u: Tensor) -> Tensor:
        inside = (2 - u.abs()).clamp_min(0) ** 2
        return inside + (0.1 * u - 0.1 - 0.1 * (u - 1)) * u


@found_by("check_support", "claims to vanish for |u| ≥ 2, but has the slope")
class SlopeOutside(Claiming):
    """Zero outside, where its gradient is not."""

    claims = Properties(support=2.0)

    def kernel(self, u: Tensor) -> Tensor:
        return (2 - u.abs()).clamp_min(0) ** 2 + 1e-12 * (u - u.detach())


@found_by("check_band_limit", "claims the band limit 0.45")
class BarelyWiderBand(Claiming):
    claims = Properties(band_limit=0.45)

    def kernel(self, u: Tensor) -> Tensor:
        return torch.sinc(u)


@found_by("check_partition_of_unity", "sum to")
class NearlyAPartition(Claiming):
    """Shifts of this bell sum to one but for 0.7 per cent."""

    claims = Properties(partition_of_unity=True)

    def kernel(self, u: Tensor) -> Tensor:
        return torch.exp(-0.5 * (u / 0.5).square()) / (0.5 * math.sqrt(2 * math.pi))


@found_by("check_smoothness", "claims smoothness 3", "derivative 3 jumps")
class SmootherCubic(Claiming):
    """A cubic spline has two continuous derivatives."""

    claims = Properties(smoothness=3)

    def kernel(self, u: Tensor) -> Tensor:
        return (2 - u.abs()).clamp_min(0) ** 3 / 6 - 4 * (1 - u.abs()).clamp_min(0) ** 3 / 6


@found_by("check_smoothness", "claims smoothness 0", "derivative 0 jumps")
class ContinuousStep(Claiming):
    claims = Properties(smoothness=0)

    def kernel(self, u: Tensor) -> Tensor:
        return torch.where(u < 0.37, bell(u), 1.1 * bell(u))


@found_by("check_polynomial", "ψ_1 is not the one of degree 1")
class DegreeOneTooHigh(Basis):
    """Powers from the square on."""

    uses_grid: ClassVar[bool] = False

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        x = z.unsqueeze(-1) * bandwidth / 3
        return torch.cumprod(x, -1) * x

    def properties(self) -> Properties:
        return Properties(polynomial=True)


# -- engines ----------------------------------------------------------------------------------------------------------


@found_by("check_engine_auto", "engine 'auto'", "off, relative, where 0.002 is promised")
class FasterThanAnyTable(ShiftedBasis):
    """Oscillates within a cell of the finest table."""

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u) + 0.3 * (1e5 * u).sin()


@found_by("check_float32", "float32 makes ΔW", "where 0.001 is the most")
class CancelsInFloat32(ShiftedBasis):
    """Takes a small number from a large one: float32 keeps nothing."""

    def kernel(self, u: Tensor) -> Tensor:
        return (bell(u) + 3e4) - 3e4


@found_by("check_float32", "leaves float32")
class Explodes(ShiftedBasis):
    """Leaves float32 on the grid interval."""

    def kernel(self, u: Tensor) -> Tensor:
        return torch.exp(40 * u)


# -- adapters ---------------------------------------------------------------------------------------------------------


@found_by("check_config_round_trip", "NoName has no registered name", "@register(")
class NoName(ShiftedBasis):
    """Not registered."""

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u)


# -- options: registered, so that a config takes them by name ----------------------------------------------------------


@dataclass(frozen=True)
class TensorOption(ShiftedBasis):
    """An option that JSON does not hold."""

    centre: Tensor = field(default_factory=lambda: torch.zeros(2))

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u)


class PlainOption(ShiftedBasis):
    """An option outside a dataclass, which a config cannot see."""

    def __init__(self, width: float = 2.0) -> None:
        self.width = width

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u / self.width)


@dataclass(frozen=True)
class TupleOption(ShiftedBasis):
    """JSON knows no tuples."""

    widths: tuple[float, ...] = (1.0, 2.0)

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u / self.widths[0])


@dataclass(frozen=True)
class DoublingOption(ShiftedBasis):
    """Its constructor changes what it is given: twice as wide every time it is read."""

    width: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", 2 * self.width)

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u / self.width)


OPTIONS: dict[type[ShiftedBasis], tuple[str, ...]] = {
    TensorOption: ("cannot be saved as JSON",),
    PlainOption: ("cannot be saved", "make PlainOption a dataclass"),
    TupleOption: ("its option widths = (1.0, 2.0) is read back as [1.0, 2.0]",),
    DoublingOption: ("its option width = 2.0 is read back as 4.0",),
}
"""Bases whose options do not come back, and what ``check_config_round_trip`` says."""

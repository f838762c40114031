"""Every law catches a basis that breaks it: what a check never catches it does not protect."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from lrlora.analysis import stable_rank
from lrlora.bases import Basis, Properties, ShiftedBasis
from lrlora.bases.bspline import BSpline
from lrlora.bases.fourier import Fourier
from lrlora.bases.gaussian import Gaussian
from lrlora.bases.polynomial import Polynomial
from lrlora.testing import ConformanceError, NotApplicableError, laws
from lrlora.testing.laws import full_rank_laws, tails


class OneDegreeMore(Polynomial):
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        more = torch.cat([bandwidth[:1], bandwidth])
        return super().matrix(z, grid, more)[..., 1:]


class AThousandthOfADegreeMore(Polynomial):
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        values = super().matrix(z, grid, bandwidth)
        return values + 1e-6 * (z / self.bound).unsqueeze(-1) ** (len(bandwidth) + 1)


@dataclass(frozen=True)
class Claims(Basis):
    """A basis that says other things of itself."""

    inner: Basis
    claims: Properties

    @property
    def uses_grid(self) -> bool:  # type: ignore[override]
        return self.inner.uses_grid

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return self.inner.matrix(z, grid, bandwidth)

    def properties(self) -> Properties:
        return self.claims


def claiming(basis: Basis, **claims: object) -> Claims:
    return Claims(basis, replace(basis.properties(), **claims))


class ByPlace(Gaussian):
    """Not elementwise: the place in the matrix leaks into the value."""

    def kernel(self, u: Tensor) -> Tensor:
        return super().kernel(u) + 1e-3 * torch.sin(torch.arange(u.numel(), dtype=u.dtype) ** 2).view(u.shape)


class ByPlaceInAMatrix(ByPlace):
    def kernel(self, u: Tensor) -> Tensor:
        return super().kernel(u) if u.ndim > 2 else Gaussian().kernel(u)


class ByIndex(Gaussian):
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return super().matrix(z, grid, bandwidth) * (1 + 1e-9 * torch.arange(len(grid), dtype=z.dtype))


class Leaky(BSpline):
    def kernel(self, u: Tensor) -> Tensor:
        return super().kernel(u) + 1e-12


class LeakyGradient(BSpline):
    def kernel(self, u: Tensor) -> Tensor:
        return super().kernel(u) + 1e-12 * (u - u.detach())


class NarrowerThanItSays(BSpline):
    def kernel(self, u: Tensor) -> Tensor:
        return super().kernel(1.01 * u)


class Squeezed(Gaussian):
    """Its ω stops at one."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return super().matrix(z, grid, bandwidth.clamp(max=1.0))


@dataclass(frozen=True)
class Pole(Basis):
    uses_grid = False

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return 1 / (bandwidth * z.unsqueeze(-1))


class Random(Gaussian):
    def kernel(self, u: Tensor) -> Tensor:
        return super().kernel(u) + torch.rand(u.shape, dtype=u.dtype)


@dataclass(frozen=True)
class Kink(ShiftedBasis):
    def kernel(self, u: Tensor) -> Tensor:
        return torch.exp(-u.abs())


WRONG = [
    ("law_linear", OneDegreeMore()),
    ("law_degree", OneDegreeMore()),
    ("law_degree", AThousandthOfADegreeMore()),
    ("law_degree", claiming(Gaussian(), polynomial=True)),
    ("law_differences", OneDegreeMore()),
    ("law_differences", claiming(Fourier(), polynomial=True)),
    ("law_constant", ByPlace()),
    ("law_constant", NarrowerThanItSays()),
    ("law_constant", claiming(Gaussian(), partition_of_unity=True, support=9.0)),
    ("law_chebyshev_tail", ByPlaceInAMatrix()),
    ("law_smoothness", claiming(BSpline(3), smoothness=3)),
    ("law_smoothness", claiming(BSpline(1), smoothness=1)),
    ("law_smoothness", claiming(BSpline(4), smoothness=6)),
    ("law_smoothness", claiming(BSpline(5), smoothness=math.inf)),
    ("law_smoothness", claiming(Kink(), smoothness=math.inf)),
    ("law_smoothness", claiming(Kink(), smoothness=1)),
    ("law_permutation", ByIndex()),
    ("law_period", claiming(Fourier(), period=6.0 * (1 + 1e-9))),
    ("law_period", claiming(Fourier(), period=3.0)),
    ("law_support", Leaky()),
    ("law_support", LeakyGradient()),
    ("law_support", claiming(BSpline(3), support=1.9)),
    ("law_disjoint_supports", claiming(BSpline(3), support=1.9)),
    ("law_disjoint_supports", Leaky()),
    ("law_scaling", Squeezed()),
    ("law_residual_start", Pole()),
    ("law_small_amplitudes", Random()),
    ("law_parity", claiming(Gaussian(), parity="odd")),
    ("law_parity", claiming(Fourier(), parity="even")),
]


@pytest.mark.parametrize(("law", "basis"), WRONG, ids=lambda value: value if isinstance(value, str) else repr(value))
def test_a_basis_that_breaks_a_law_is_caught_in_one_line(law: str, basis: Basis) -> None:
    with pytest.raises(ConformanceError) as caught:
        getattr(laws, law)(basis)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sharing", ["none", "parts:amplitude", "parts:grid+bandwidth"])
def test_a_theta_that_is_not_one_is_caught(sharing: str) -> None:
    with pytest.raises(ConformanceError, match="adapter 2 differs"):
        laws.law_tied(Gaussian(), sharing=sharing)


@pytest.mark.parametrize(
    "measure",
    [
        lambda m: float(m.norm()),
        lambda m: 12 * stable_rank(m),
        lambda m: 0.5 * stable_rank(m),
        lambda m: float((torch.linalg.svdvals(m) > 0.0025 * torch.linalg.matrix_norm(m, 2)).sum()),
    ],
    ids=["with the scale", "above the rank", "below one", "a count with a threshold"],
)
def test_a_measure_that_is_no_stable_rank_is_caught(measure) -> None:
    with pytest.raises(ConformanceError, match="stable rank"):
        laws.law_stable_rank(Gaussian(), measure=measure)


def test_a_bound_that_a_construction_passes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "degree_rank_bound", lambda r, degree, centered: degree // 8)
    with pytest.raises(ConformanceError, match="gives rank"):
        laws.law_full_rank(Fourier())


def test_a_basis_without_a_sine_is_not_at_fault() -> None:
    with pytest.raises(NotApplicableError, match="do not follow cos"):
        full_rank_laws.law_full_rank(EvenOnly())


class EvenOnly(Fourier):
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return super().matrix(z.abs(), grid, bandwidth)

"""Built-in bases keep the laws of rank relaxation at any draw, a basis that breaks one is caught, and the page runs."""

from __future__ import annotations

import doctest
import importlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lrlora.bases import BASES, Basis, ShiftedBasis
from lrlora.bases.bspline import BSpline
from lrlora.bases.fourier import Fourier
from lrlora.bases.gaussian import Gaussian
from lrlora.bases.polynomial import Polynomial
from lrlora.bases.sinc import Sinc
from lrlora.testing import ConformanceError, NotApplicableError, laws

NAMES = [entry.name for entry in BASES if entry.origin == "built-in" and entry.name not in ("product", "scaled", "sum")]
BUILT_IN = [*map(BASES.create, NAMES), BSpline(1), BSpline(5), Sinc() * Gaussian(), Sinc() + Fourier()]


@pytest.mark.parametrize("basis", BUILT_IN, ids=repr)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31))
def test_a_built_in_basis_keeps_every_law_at_any_draw(basis: Basis, seed: int) -> None:
    for law in laws.LAWS:
        if law is not laws.law_full_rank:  # which draws nothing
            with suppress(NotApplicableError):
                law(basis, seed=seed)


@pytest.mark.parametrize("basis", BUILT_IN, ids=repr)
def test_a_built_in_basis_keeps_the_law_that_draws_nothing(basis: Basis) -> None:
    with suppress(NotApplicableError):
        laws.law_full_rank(basis)


def test_what_says_nothing_of_a_basis_is_listed_with_the_reason() -> None:
    outcomes = {outcome.check: outcome for outcome in laws.run_laws(Fourier())}
    assert list(outcomes) == [law.__name__ for law in laws.LAWS]
    assert all(outcome.about.endswith(".") for outcome in outcomes.values())
    # A harmonic is known by its index alone, so harmonics cannot change places.
    assert outcomes["law_permutation"].status == "not applicable"
    assert "a function may depend on its index" in outcomes["law_permutation"].message


# -- bases that break one ---------------------------------------------------------------------------------------------


class OneDegreeMore(Polynomial):
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        more = torch.cat([bandwidth[:1], bandwidth])
        return super().matrix(z, grid, more)[..., 1:]


class AMillionthOfADegreeMore(Polynomial):
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        values = super().matrix(z, grid, bandwidth)
        return values + 1e-6 * (z / self.bound).unsqueeze(-1) ** (len(bandwidth) + 1)


class ByPlace(Gaussian):
    """Not elementwise: the place in the matrix leaks into the value."""

    def kernel(self, u: Tensor) -> Tensor:
        places = torch.arange(u.numel(), dtype=u.dtype).view(u.shape)
        return super().kernel(u) + 1e-3 * torch.sin(places**2) * (u.ndim > 2)


class ByIndex(Gaussian):
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return super().matrix(z, grid, bandwidth) * (1 + 1e-9 * torch.arange(len(grid), dtype=z.dtype))


class Squeezed(Gaussian):
    """Its ω stops at one."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return super().matrix(z, grid, bandwidth.clamp(max=1.0))


@dataclass(frozen=True)
class Pole(ShiftedBasis):
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return 1 / (bandwidth * z.unsqueeze(-1))

    def kernel(self, u: Tensor) -> Tensor:
        raise NotImplementedError


class EvenOnly(Fourier):
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return super().matrix(z.abs(), grid, bandwidth)


@pytest.mark.parametrize(
    ("law", "basis"),
    [
        ("law_degree", OneDegreeMore()),
        ("law_degree", AMillionthOfADegreeMore()),
        ("law_chebyshev_tail", ByPlace()),
        ("law_residual_start", Pole()),
        ("law_scaling", Squeezed()),
        ("law_permutation", ByIndex()),
    ],
)
def test_a_basis_that_breaks_a_law_is_caught_in_one_line(law: str, basis: Basis) -> None:
    with pytest.raises(ConformanceError) as caught:
        getattr(laws, law)(basis)
    assert "\n" not in str(caught.value)


def test_a_bound_that_a_construction_passes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = importlib.import_module("lrlora.testing.laws.ranks")
    monkeypatch.setattr(ranks, "degree_rank_bound", lambda r, degree, centered: degree // 8)
    with pytest.raises(ConformanceError, match="gives rank"):
        laws.law_full_rank(Fourier())


def test_a_basis_without_a_sine_is_not_at_fault() -> None:
    with pytest.raises(NotApplicableError, match="do not follow cos"):
        laws.law_full_rank(EvenOnly())


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    page = Path(__file__).parents[2] / "docs" / "laws.md"
    # A fence would be read as output of the line above it.
    text = "\n".join("" if line.startswith("```") else line for line in page.read_text(encoding="utf-8").splitlines())
    found = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    assert len(found.examples) >= 10
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(found, out=report.append).failed == 0, "".join(report)

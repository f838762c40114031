"""Every basis keeps the contract of Basis.matrix, and has the properties that its docstring claims."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline as ScipyBSpline
from scipy.special import eval_chebyt

from lrlora.bases import BASES, Basis
from lrlora.bases.bspline import BSpline
from lrlora.bases.fourier import Fourier
from lrlora.bases.polynomial import Polynomial

BUILT_IN = [entry.name for entry in BASES if entry.origin == "built-in"]
COMPOSITIONS = ["product", "scaled", "sum"]  # made of other bases: see test_compositions.py
PLAIN = [name for name in BUILT_IN if name not in COMPOSITIONS]
F64 = torch.float64


def parameters(seed: int, n: int, points: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.empty(points, dtype=F64).uniform_(-3.5, 3.5, generator=generator)
    grid = torch.empty(n, dtype=F64).uniform_(-3, 3, generator=generator).sort().values
    bandwidth = torch.empty(n, dtype=F64).uniform_(0.3, 2.0, generator=generator)
    return z, grid, bandwidth


def test_the_bases_of_the_paper_and_those_beyond_are_built_in() -> None:
    paper = ["bspline", "fourier", "gaussian", "polynomial", "sinc"]
    beyond = ["legendre", "mexican_hat", "morlet", "piecewise_linear", "rational", "ridge", "sine", "student"]
    assert sorted(paper + beyond + COMPOSITIONS) == BUILT_IN


@pytest.mark.parametrize("name", PLAIN)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 9))
def test_gradients_are_those_of_the_function(name: str, seed: int, n: int) -> None:
    inputs = [t.requires_grad_() for t in parameters(seed, n, points=3)]
    assert torch.autograd.gradcheck(BASES.create(name).matrix, inputs, atol=1e-5)


@pytest.mark.parametrize("name", PLAIN)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 20))
def test_a_basis_is_elementwise_and_leaves_its_arguments_alone(name: str, seed: int, n: int) -> None:
    basis: Basis = BASES.create(name)
    z, grid, bandwidth = parameters(seed, n, points=12)
    before = [t.clone() for t in (z, grid, bandwidth)]
    values = basis.matrix(z, grid, bandwidth)
    assert values.shape == (12, n)
    assert all(torch.equal(t, kept) for t, kept in zip((z, grid, bandwidth), before, strict=True))
    torch.testing.assert_close(basis.matrix(z.view(3, 4), grid, bandwidth), values.view(3, 4, n))
    torch.testing.assert_close(basis.matrix(z[5], grid, bandwidth), values[5])
    narrow = basis.matrix(z.float(), grid.float(), bandwidth.float())
    assert narrow.dtype is torch.float32
    # The slope of T_20 reaches 400 at the ends of the interval, and more beyond: so does its rounding error.
    torch.testing.assert_close(narrow.double(), values, rtol=2e-3, atol=2e-3)


@given(seed=st.integers(0, 2**31), n=st.integers(1, 40))
def test_polynomials_are_chebyshev_polynomials_inside_and_outside_the_interval(seed: int, n: int) -> None:
    z, grid, bandwidth = parameters(seed, n)
    expected = np.stack([eval_chebyt(i + 1, (bandwidth[i] * z / 2.5).numpy()) for i in range(n)], axis=-1)
    found = Polynomial(bound=2.5).matrix(z, grid, bandwidth)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_bsplines_are_those_of_scipy_and_vanish_outside_their_support(degree: int) -> None:
    u = torch.linspace(-4, 4, 1601, dtype=F64)
    knots = np.arange(degree + 2) - (degree + 1) / 2
    expected = np.nan_to_num(ScipyBSpline.basis_element(knots, extrapolate=False)(u.numpy()))
    found = BSpline(degree).kernel(u)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-14)
    assert (found[u.abs() >= (degree + 1) / 2] == 0).all()


@given(shift=st.floats(-0.5, 0.5), degree=st.integers(1, 5))
def test_integer_shifts_of_a_bspline_sum_to_one(shift: float, degree: int) -> None:
    u = shift - torch.arange(-6, 7, dtype=F64)
    assert math.isclose(float(BSpline(degree).kernel(u).sum()), 1.0, abs_tol=1e-12)


@given(seed=st.integers(0, 2**31), n=st.integers(1, 30), periods=st.integers(-3, 3))
def test_fourier_at_unit_bandwidth_has_the_period_of_the_grid(seed: int, n: int, periods: int) -> None:
    z, grid, _ = parameters(seed, n)
    basis, one = Fourier(bound=1.7), torch.ones(n, dtype=F64)
    torch.testing.assert_close(
        basis.matrix(z + periods * 3.4, grid, one), basis.matrix(z, grid, one), rtol=0, atol=1e-10
    )


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="degree of bspline must be"):
        BSpline(0)
    with pytest.raises(TypeError, match="degre"):
        BASES.create("bspline", degre=3)

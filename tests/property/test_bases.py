"""Every basis keeps the contract of Basis.matrix, and has the properties that its docstring claims."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline as ScipyBSpline
from scipy.special import eval_chebyt

from lrlora.bases import BASES
from lrlora.bases.bspline import BSpline
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


@given(seed=st.integers(0, 2**31), n=st.integers(1, 40))
def test_polynomials_are_chebyshev_polynomials_inside_the_interval_and_constant_outside(seed: int, n: int) -> None:
    z, grid, bandwidth = parameters(seed, n)
    x = (bandwidth * z[:, None] / 2.5).clamp(-1, 1).numpy()
    expected = eval_chebyt(np.arange(1, n + 1), x)
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


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="degree of bspline must be"):
        BSpline(0)
    with pytest.raises(TypeError, match="degre"):
        BASES.create("bspline", degre=3)

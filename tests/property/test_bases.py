"""Bases are what their docstrings say, by formulas from elsewhere; what every basis keeps is in the conformance kit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline as ScipyBSpline
from scipy.special import eval_chebyt, eval_legendre
from torch import Tensor

from lrlora.bases import BASES
from lrlora.bases.bspline import BSpline
from lrlora.bases.legendre import Legendre
from lrlora.bases.mexican_hat import MexicanHat
from lrlora.bases.morlet import Morlet
from lrlora.bases.piecewise_linear import PiecewiseLinear
from lrlora.bases.polynomial import Polynomial
from lrlora.bases.rational import Rational
from lrlora.bases.ridge import Ridge
from lrlora.bases.sine import Sine
from lrlora.transfer import TransferFunction

F64 = torch.float64
LINE = torch.linspace(-12, 12, 20001, dtype=F64)


def parameters(seed: int, n: int, points: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.empty(points, dtype=F64).uniform_(-3.5, 3.5, generator=generator)
    grid = torch.empty(n, dtype=F64).uniform_(-3, 3, generator=generator).sort().values
    bandwidth = torch.empty(n, dtype=F64).uniform_(0.3, 2.0, generator=generator)
    return z, grid, bandwidth


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


def ones(n: int) -> Tensor:
    return torch.ones(n, dtype=F64)


@given(seed=st.integers(0, 2**31), n=st.integers(1, 60), bound=st.floats(0.5, 5))
def test_legendre_polynomials_are_those_of_scipy_inside_the_interval_and_constant_outside(
    seed: int, n: int, bound: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = bound * torch.empty(9, dtype=F64).uniform_(-1.5, 1.5, generator=generator)
    omega = torch.empty(n, dtype=F64).uniform_(0.3, 2.0, generator=generator)
    expected = eval_legendre(np.arange(1, n + 1), (omega * z[:, None] / bound).clamp(-1, 1).numpy())
    found = Legendre(bound).matrix(z, torch.zeros(n, dtype=F64), omega)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-9, atol=1e-11)


def test_legendre_polynomials_are_orthogonal_on_the_interval_and_one_at_its_end() -> None:
    x, weights = (torch.tensor(part) for part in np.polynomial.legendre.leggauss(64))
    values = Legendre(2.0).matrix(2 * x, torch.zeros(40, dtype=F64), ones(40))
    gram = values.T @ (weights[:, None] * values)
    torch.testing.assert_close(gram, torch.diag(2 / (2 * torch.arange(1, 41, dtype=F64) + 1)), atol=1e-13, rtol=0)
    ends = Legendre(2.0).matrix(torch.tensor([2.0], dtype=F64), torch.zeros(40, dtype=F64), ones(40))
    torch.testing.assert_close(ends, torch.ones(1, 40, dtype=F64), atol=1e-13, rtol=0)


def test_the_mexican_hat_is_the_second_derivative_of_a_gaussian_negated() -> None:
    u = LINE.clone().requires_grad_()
    (slope,) = torch.autograd.grad((-torch.exp(-u.square() / 2)).sum(), u, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), u)
    torch.testing.assert_close(MexicanHat().kernel(LINE), curvature)


@given(w0=st.floats(0.1, 20))
def test_wavelets_have_no_mean(w0: float) -> None:
    for wavelet in (MexicanHat(), Morlet(w0)):
        assert abs(float(torch.trapezoid(wavelet.kernel(LINE), LINE))) < 1e-12


@given(seed=st.integers(0, 2**31), pairs=st.integers(1, 4))
def test_partial_fractions_give_every_rational_function_of_their_poles(seed: int, pairs: int) -> None:
    """An [n−1/n] rational function with n/2 simple pairs of poles is found again, by functions that share poles."""
    rng = np.random.default_rng(seed)
    centres, widths = np.sort(rng.uniform(-3, 3, pairs)), rng.uniform(0.4, 2.0, pairs)
    denominator = np.poly1d([1.0])
    for centre, width in zip(centres, widths, strict=True):
        denominator *= np.poly1d([1.0, -2 * centre, centre**2 + width**2])
    numerator = np.poly1d(rng.normal(size=2 * pairs))
    z = np.linspace(-6, 6, 401)
    expected = torch.tensor(numerator(z) / denominator(z))
    grid, omega = (torch.tensor(np.repeat(one, 2)) for one in (centres, 1 / widths))
    features = Rational().matrix(torch.tensor(z), grid, omega)
    amplitudes = torch.linalg.lstsq(features, expected[:, None], driver="gelsd").solution
    # Poles that nearly coincide have residues that nearly cancel.
    torch.testing.assert_close((features @ amplitudes)[:, 0], expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def test_hat_functions_are_bsplines_of_degree_one_and_interpolate() -> None:
    torch.testing.assert_close(PiecewiseLinear().kernel(LINE), BSpline(1).kernel(LINE), rtol=0, atol=1e-15)
    grid = torch.linspace(-3, 3, 13, dtype=F64)
    values = torch.sin(grid)
    z = torch.linspace(-3, 3, 101, dtype=F64)
    found = PiecewiseLinear().matrix(z, grid, 2 * ones(13)) @ values
    torch.testing.assert_close(found, torch.tensor(np.interp(z, grid, values)), rtol=0, atol=1e-14)


@given(seed=st.integers(0, 2**31))
def test_centred_sigmoids_are_tanh_of_half_the_height_and_bandwidth(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, grid, z = (torch.randn(7, dtype=F64, generator=generator) for _ in range(3))
    omega = torch.rand(7, dtype=F64, generator=generator) + 0.5
    sigmoids = TransferFunction(Ridge("sigmoid"), a, omega, grid, centered=True)
    tanhs = TransferFunction(Ridge("tanh"), a / 2, omega / 2, grid, centered=True)
    torch.testing.assert_close(sigmoids(z), tanhs(z))
    assert float(sigmoids(torch.zeros((), dtype=F64))) == 0


def test_sines_of_one_frequency_span_two_dimensions_until_their_bandwidths_part() -> None:
    z, grid = torch.linspace(-3, 3, 200, dtype=F64), torch.linspace(-3, 3, 12, dtype=F64)
    assert torch.linalg.matrix_rank(Sine().matrix(z, grid, ones(12)), rtol=1e-10) == 2
    apart = torch.linspace(0.5, 2, 12, dtype=F64)
    assert torch.linalg.matrix_rank(Sine().matrix(z, grid, apart), rtol=1e-10) == 12


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("morlet:0", "w0 of morlet must be > 0, got 0"),
        ("morlet:fast", "w0 of morlet must be a finite number > 0, got 'fast'"),
        ("bspline:0", "degree of bspline must be >= 1, got 0"),
        ("sine:-1", "w0 of sine must be > 0, got -1"),
        ("legendre:0", "bound of legendre must be > 0, got 0"),
        ("fourier:True", "bound of fourier must be a finite number > 0, got True"),
        ("polynomial:1e999", "bound of polynomial must be a finite number > 0, got inf"),
        ("ridge:relu", "the function of a ridge is 'tanh' or 'sigmoid', not 'relu'"),
    ],
)
def test_bad_options_are_refused_in_one_line(spec: str, line: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the message is compared below
        BASES.create(spec)
    assert str(refused.value) == line

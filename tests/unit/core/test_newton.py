"""The form of polynomials: what it spans, and that its coefficients do not cancel."""

import numpy as np
import pytest
import torch
from numpy.polynomial import polynomial

from lrlora.engines.newton import HIGHEST_DEGREE, derivative, functions_at, to_powers

T = np.linspace(-1, 1, 301)
CPU = torch.device("cpu")


def test_no_function_grows_large_and_all_but_the_first_vanish_at_zero() -> None:
    assert np.abs(functions_at(T)).max() < 12
    assert functions_at(np.zeros(1))[0].tolist() == [1.0] + [0.0] * HIGHEST_DEGREE


@pytest.mark.parametrize("degree", [1, 2, 5, 8])
def test_powers_say_the_same(degree: int) -> None:
    c = np.random.default_rng(0).standard_normal(degree + 1)
    powers = to_powers(degree, CPU).numpy() @ c
    np.testing.assert_allclose(polynomial.polyval(T, powers), functions_at(T)[:, : degree + 1] @ c, atol=1e-12)


def test_the_derivative_is_one() -> None:
    c = np.random.default_rng(0).standard_normal(9)
    slope = derivative(CPU).numpy()[:, :9] @ c
    expected = polynomial.polyval(T, polynomial.polyder(to_powers(8, CPU).numpy() @ c))
    np.testing.assert_allclose(functions_at(T)[:, :28] @ slope, expected, atol=1e-9)
    np.testing.assert_allclose(slope[8:], 0, atol=1e-10)

"""Full rank by construction: who reaches it, with which r, and on which range of entries."""

import math
from dataclasses import replace

import pytest
import torch
from exact import difference_factors, exact_rank
from hypothesis import given, settings
from hypothesis import strategies as st

from lrlora.analysis import stable_rank
from lrlora.bases import BASES
from lrlora.bases.bspline import BSpline
from lrlora.bases.fourier import Fourier
from lrlora.bases.gaussian import Gaussian
from lrlora.bases.polynomial import Polynomial
from lrlora.bases.sinc import Sinc
from lrlora.testing.laws import (
    RankOutOfReachError,
    angle_range_for_full_rank,
    degree_rank_bound,
    drawn_transfer,
    lowest_degree_for_rank,
    reach_full_rank,
)
from lrlora.testing.laws.full_rank import lattice_sides
from lrlora.transfer import TransferFunction

F64 = torch.float64
PAPER = ["bspline", "fourier", "gaussian", "polynomial", "sinc"]


def one_function(basis, omega: float = 1.0) -> TransferFunction:
    one = torch.ones(1, dtype=F64)
    return TransferFunction(basis, one, omega * one, 0 * one, residual=False, centered=False)


def on_differences(f: TransferFunction, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    B, A = difference_factors(x, y)
    return f(B @ A)


# -- The lattice: any r, any basis that follows a wave -------------------------------------------------------------


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize(("n", "r"), [(16, 1), (64, 2), (128, 7)])
def test_enough_functions_of_each_basis_reach_full_rank(name: str, n: int, r: int) -> None:
    found = reach_full_rank(BASES.create(name), n, r, num_functions=64)
    assert found.B.shape == (n, r)
    assert found.A.shape == (r, n)
    assert torch.linalg.matrix_rank(found.update) == n
    # Half of the largest singular value at least: a stable rank of a quarter of n, and here far more.
    assert found.smallest >= 0.5
    assert stable_rank(found.update) >= n / 4
    assert found.reach <= 3.0 + 1e-12


@given(sides=st.lists(st.integers(1, 5), min_size=1, max_size=3))
@settings(max_examples=20)
def test_one_cosine_and_one_sine_on_a_lattice_are_orthogonal(sides: list[int]) -> None:
    n, r = math.prod(sides), len(sides)
    found = reach_full_rank(Fourier(), n, r, num_functions=16 if angle_range_for_full_rank(n, r) < 25 else 64)
    torch.testing.assert_close(found.update @ found.update.T, n * torch.eye(n, dtype=F64), rtol=0, atol=1e-9 * n)


@given(n=st.integers(1, 10**4), r=st.integers(1, 8))
def test_a_lattice_has_n_points_and_its_range_is_the_one_that_is_told(n: int, r: int) -> None:
    sides = lattice_sides(n, r)
    assert len(sides) == r
    assert math.prod(sides) == n
    # The largest entry of BA, κ taken out: both factors in a corner.
    corner = sum(2 * math.pi / k * ((k - 1) / 2) ** 2 for k in sides)
    assert angle_range_for_full_rank(n, r) == pytest.approx(corner)


@pytest.mark.parametrize(("n", "r"), [(64, 1), (256, 2), (4096, 3), (4096, 4), (4096, 6)])
def test_the_range_of_the_lattice_is_within_a_constant_of_what_any_matrix_needs(n: int, r: int) -> None:
    # A wave on |angle| ≤ ρ is a polynomial of degree about e ρ / 2 + a few to a tenth of its size, and no polynomial of
    # a lower degree than this gives rank n. So ρ must be at least:
    needed = max(0.0, 2 * (lowest_degree_for_rank(r, n) - 4) / math.e)
    enough = angle_range_for_full_rank(n, r)
    assert needed <= enough <= 8 * (needed + 4)


def test_what_no_polynomial_can_reach_is_refused_with_the_numbers() -> None:
    with pytest.raises(RankOutOfReachError, match=r"degree 3 gives rank 10 at most at r = 2, not 16"):
        reach_full_rank(Polynomial(), 16, 2, num_functions=3)
    with pytest.raises(RankOutOfReachError, match="do not follow"):
        reach_full_rank(Gaussian(), 64, 1, num_functions=16)


# -- Differences: r = 2 and one function ---------------------------------------------------------------------------


@given(n=st.integers(1, 20), degree=st.integers(1, 5))
@settings(max_examples=20)
def test_one_bspline_in_steps_of_its_support_is_a_multiple_of_the_identity_exactly(n: int, degree: int) -> None:
    x = (degree + 1) / 2 * torch.arange(n, dtype=F64)
    f = one_function(BSpline(degree))
    update = on_differences(f, x, x)
    assert torch.equal(update, update[0, 0] * torch.eye(n, dtype=F64))
    assert update[0, 0] > 0
    # Steps in another order are a permutation, as full and as well conditioned.
    order = torch.randperm(n)
    assert torch.equal(on_differences(f, x, x[order]), update[:, order])


@given(n=st.integers(2, 40))
@settings(max_examples=20)
def test_one_sinc_at_whole_differences_is_the_identity_up_to_rounding(n: int) -> None:
    x = torch.arange(n, dtype=F64)
    update = on_differences(one_function(Sinc()), x, x)
    # sin(πk)/(πk): fl(π) is off by 1.3e-16 k in the argument, divided by πk; and sin by a unit: below 2e-16 an entry.
    sigma = torch.linalg.svdvals(update)
    assert abs(float(sigma[-1]) - 1) <= 2e-16 * n + 1e-14
    assert stable_rank(update) == pytest.approx(n)


@given(n=st.integers(2, 10), step=st.floats(1.0, 4.0))
@settings(max_examples=20)
def test_a_gaussian_of_differences_is_positive_definite_and_its_smallest_eigenvalue_is_known(
    n: int, step: float
) -> None:
    x = step * torch.arange(n, dtype=F64)
    smallest = float(torch.linalg.eigvalsh(on_differences(one_function(Gaussian()), x, x))[0])
    # The symbol Σ_k exp(−(k step)²/2) cos(kθ) is smallest at θ = π, and bounds every eigenvalue of a Toeplitz matrix.
    k = torch.arange(1, 60, dtype=F64)
    symbol = 1 + 2 * float(((-1.0) ** k * torch.exp(-((k * step) ** 2) / 2)).sum())
    assert smallest >= symbol - 1e-14
    assert symbol > 0


@given(seed=st.integers(0, 2**31), frequencies=st.integers(1, 4), reach=st.floats(1.0, 1e3))
@settings(max_examples=20)
def test_k_frequencies_give_rank_2k_on_differences_whatever_the_range(
    seed: int, frequencies: int, reach: float
) -> None:
    # cos(κ(x − y)) = cos κx cos κy + sin κx sin κy, and the sine likewise: two columns a frequency.
    f = replace(drawn_transfer(Fourier(), seed, 2 * frequencies), bandwidth=torch.ones(2 * frequencies, dtype=F64))
    x = torch.empty(14, dtype=F64).uniform_(-reach, reach, generator=torch.Generator().manual_seed(seed))
    update = on_differences(f, x, x)
    # cos is off by units of its argument, up to 4 · 2π/6 · 2 · reach, in each of 14² entries.
    assert float(torch.linalg.svdvals(update)[2 * frequencies]) <= 1e-13 * (10 + 10 * reach) * frequencies


@given(n=st.integers(2, 10), degree=st.integers(0, 6))
@settings(max_examples=20)
def test_a_power_of_differences_has_rank_degree_plus_one_exactly(n: int, degree: int) -> None:
    # The binomial theorem; degree + 1 of the C(degree + 2, 2) that other matrices of rank two would reach.
    x = torch.arange(n, dtype=F64)
    assert exact_rank((x[:, None] - x - 1) ** degree) == min(n, degree + 1)
    assert degree + 1 <= degree_rank_bound(2, degree)


# -- A kink: full rank on any range --------------------------------------------------------------------------------


@given(n=st.integers(2, 24), exponent=st.integers(3, 40))
@settings(max_examples=20)
def test_a_kink_at_zero_gives_full_rank_on_any_range_but_little_stable_rank(n: int, exponent: int) -> None:
    # The hat is 1 − |z| near zero, so the centred update is −|x_i − y_j|, a matrix of distances: never singular, and
    # c times itself when the range is. Its determinant is ± (n − 1) 2^(n − 2) steps^n.
    step = 2.0 ** -(exponent + n.bit_length())
    x = step * torch.arange(n, dtype=F64)
    f = one_function(BSpline(1))
    hat = TransferFunction(f.basis, f.amplitude, f.bandwidth, f.grid, residual=False, centered=True)
    update = on_differences(hat, x, x)
    assert exact_rank(update) == n
    assert float(torch.linalg.svdvals(update)[-1]) >= step * 0.49
    assert stable_rank(update) <= 2.01


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20)
def test_a_kink_at_zero_gives_rank_two_at_r_1(seed: int) -> None:
    # max(0, ba) = max(0, b) max(0, a) + max(0, −b) max(0, −a): what a kink reaches, it reaches from r = 2 on.
    generator = torch.Generator().manual_seed(seed)
    b, a = torch.randint(-9, 10, (2, 12), generator=generator).double()
    assert exact_rank(torch.outer(b, a).clamp_min(0)) <= 2


# -- Products: r = 1 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("basis", "n"), [(Gaussian(), 7), (Sinc(), 7), (Fourier(), 12)])
def test_an_analytic_phi_reaches_full_rank_at_r_1_but_its_singular_values_fall_off(basis, n: int) -> None:
    # b, a in (0, 1.5]: powers of b and a are all that tells rows apart, and c_k b^k falls as k! grows.
    b = torch.linspace(0.2, 1.5, n, dtype=F64)
    one = torch.ones(2, dtype=F64)
    f = TransferFunction(basis, one, torch.tensor([1.0, 1.3], dtype=F64), 0.3 * one, residual=False, centered=False)
    wide = torch.linalg.svdvals(f(torch.outer(b, b)))
    assert float(wide[3] / wide[0]) > 1e-9  # above rounding: more than a polynomial of degree 2 has
    narrow = torch.linalg.svdvals(f(0.1 * torch.outer(b, b)))
    # σ_k falls as the k-th power of the range: at a tenth of it the fourth is a thousandth of what it was, or less.
    assert float(narrow[3] / narrow[0]) <= 3e-3 * float(wide[3] / wide[0])


@given(n=st.integers(2, 12), omega=st.floats(1.0, 50.0))
@settings(max_examples=20)
def test_a_bump_away_from_zero_gives_a_diagonal_at_r_1_in_steps_of_a_ratio(n: int, omega: float) -> None:
    # z_ij = z_1 q^(i − j): on the diagonal the centre of the bump, elsewhere at least z_1 (1 − 1/q) away.
    ratio = 1 / (1 - 0.5 * 2 / (omega + 2))
    centre = 4.0 * (omega + 2) / omega  # half of the support, 2/ω, is what (1 − 1/q) z_1 comes to
    i = torch.arange(n, dtype=F64)
    one = torch.ones(1, dtype=F64)
    f = TransferFunction(BSpline(3), one, omega * one, centre * one, residual=False, centered=False)
    update = f(torch.outer(centre * ratio**i, ratio**-i))
    off = update - torch.diag(update.diagonal())
    assert float(off.abs().max()) == 0.0
    assert float(update.diagonal().min()) > 0.6

"""The theorems behind the laws, in exact arithmetic where float64 could not tell, and how tight they are."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from exact import exact_rank, rational_rank
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lrlora.analysis import stable_rank
from lrlora.bases import BASES
from lrlora.bases.polynomial import Polynomial
from lrlora.testing.laws import (
    LARGEST_BANDWIDTH,
    chebyshev_coefficients,
    degree_rank_bound,
    drawn_pair,
    drawn_transfer,
    epsilon_rank,
    lowest_degree_for_rank,
    monomial_rank_bound,
    rank_at_precision,
    tail_sums,
)
from lrlora.transfer import TransferFunction

F64 = torch.float64
PAPER = ["bspline", "fourier", "gaussian", "polynomial", "sinc"]
seeds = st.integers(0, 2**31)


def whole_pair(seed: int, m: int, n: int, r: int, largest: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """B and A of whole numbers up to ``largest``, so that BA and its small powers are exact in float64."""
    generator = torch.Generator().manual_seed(seed)
    B, A = (torch.randint(-largest, largest + 1, size, generator=generator) for size in ((m, r), (r, n)))
    return B.double(), A.double()


def products(seed: int, m: int, n: int, r: int) -> list[list[Fraction]]:
    """BA of generic fractions: numerators are drawn from so many that a special position has next to no chance."""
    random = np.random.default_rng(seed)
    B = [[Fraction(int(v), 97) for v in random.integers(1, 10**6, r)] for _ in range(m)]
    A = [[Fraction(int(v), 89) for v in random.integers(1, 10**6, r)] for _ in range(n)]
    return [[sum((x * y for x, y in zip(b, a, strict=True)), Fraction(0)) for a in A] for b in B]


@settings(max_examples=15)
@given(
    seed=seeds,
    r=st.integers(1, 3),
    powers=st.sets(st.integers(0, 4), min_size=1),
    m=st.integers(1, 13),
    n=st.integers(1, 13),
)
def test_the_rank_of_a_sum_of_powers_is_the_count_of_its_monomials_exactly(
    seed: int, r: int, powers: set[int], m: int, n: int
) -> None:
    # Not only at most: generic B and A attain it, for every set of powers and whatever the signs of the coefficients.
    random = np.random.default_rng(seed + 1)
    coefficients = {k: Fraction(int(random.integers(1, 1000)) * (-1) ** k, 7) for k in powers}
    values = [[sum(c * z**k for k, c in coefficients.items()) for z in row] for row in products(seed, m, n, r)]
    assert rational_rank(values) == min(m, n, monomial_rank_bound(r, powers))


@settings(max_examples=10)
@given(seed=seeds, degree=st.integers(1, 3), centered=st.booleans())
def test_the_polynomial_basis_attains_its_bound_exactly(seed: int, degree: int, centered: bool) -> None:
    # With ω = 1, g = 32 ≥ |BA| and whole numbers T_i(z / g) is a whole number over 2^5i, and float64 is exact.
    rank = degree_rank_bound(2, degree, centered=centered)
    B, A = whole_pair(seed, 24, 22, 2)
    one = torch.ones(degree, dtype=F64)
    f = TransferFunction(Polynomial(bound=32.0), torch.arange(1, degree + 1).double(), one, one, 1, 1, False, centered)
    values = f(B @ A)
    assert torch.equal(values * 2 ** (5 * degree), (values * 2 ** (5 * degree)).round())
    # Whole numbers up to 4 repeat, so that some draws are special: every monomial must be told apart by the rows.
    monomials = torch.stack([B[:, 0] ** i * B[:, 1] ** j for i in range(4) for j in range(4) if i + j <= degree], dim=1)
    others = torch.stack([A[0] ** i * A[1] ** j for i in range(4) for j in range(4) if i + j <= degree], dim=1)
    assume(exact_rank(monomials) == exact_rank(others) == degree_rank_bound(2, degree))
    powers = {k for k in range(degree + 1) if has_power(degree, k) and not (centered and k == 0)}
    assert exact_rank(values) == monomial_rank_bound(2, powers) <= rank


def has_power(degree: int, k: int) -> bool:
    """Whether Σ i T_i holds z^k."""
    return bool(abs(np.polynomial.chebyshev.cheb2poly([0, *range(1, degree + 1)])[k]) > 0)


@given(seed=seeds, r=st.integers(1, 2), s=st.integers(1, 2))
@settings(max_examples=15)
def test_the_rank_of_an_elementwise_product_is_at_most_the_product_of_the_ranks(seed: int, r: int, s: int) -> None:
    one, other = (left @ right for left, right in (whole_pair(seed, 9, 8, r), whole_pair(seed + 1, 9, 8, s)))
    assert exact_rank(one * other) <= exact_rank(one) * exact_rank(other)
    # Of equal factors it is less: monomials commute, so C(r + 1, 2) and not r².
    assert exact_rank(one * one) <= math.comb(r + 1, 2)


@given(seed=seeds, c=st.integers(-5, 5))
@settings(max_examples=15)
def test_centring_changes_the_rank_by_one_at_most(seed: int, c: int) -> None:
    z = torch.mm(*whole_pair(seed, 8, 8, 2))
    assert abs(exact_rank(z**2 - c) - exact_rank(z**2)) <= 1


def test_exact_ranks_are_exact_where_float64_is_not() -> None:
    hilbert = [[Fraction(1, i + j + 1) for j in range(14)] for i in range(14)]
    assert rational_rank(hilbert) == 14
    as_floats = torch.tensor([[float(v) for v in row] for row in hilbert], dtype=F64)
    assert torch.linalg.matrix_rank(as_floats) < 14
    assert exact_rank(torch.zeros(3, 4)) == 0


@given(r=st.integers(1, 16), degree=st.integers(0, 12))
def test_the_bound_counts_monomials(r: int, degree: int) -> None:
    assert degree_rank_bound(r, degree) == math.comb(r + degree, degree)
    assert degree_rank_bound(r, degree, centered=True) == math.comb(r + degree, degree) - 1
    assert lowest_degree_for_rank(r, math.comb(r + degree, degree)) == degree


# -- Tails ------------------------------------------------------------------------------------------------------


@given(pole=st.floats(0.3, 2.0), degree=st.integers(2, 40))
def test_coefficients_of_an_analytic_function_fall_at_the_rate_of_its_ellipse(pole: float, degree: int) -> None:
    # 1/(1 + (z/p)²) has its poles at ± i p, on the ellipse of R = p + √(1 + p²): c_2k = 2 (−1)^k R^−2k p/√(1 + p²).
    c = chebyshev_coefficients(lambda z: 1 / (1 + (z / pole) ** 2), 1.0, 128)
    at, root = 2 * (degree // 2), math.sqrt(1 + pole**2)
    assert float(c[at]) == pytest.approx(2 * (-1) ** (at // 2) * (pole + root) ** -at * pole / root, abs=1e-14)
    # And the tail keeps the bound 2M R^−d / (R − 1) on the ellipse of half the distance to the pole, where |f| ≤ 4/3.
    inside = pole / 2 + math.sqrt(1 + pole**2 / 4)
    assert float(tail_sums(c)[degree]) <= 8 / 3 * inside**-degree / (inside - 1) + 1e-12


@given(degree=st.integers(2, 100), kink=st.floats(-0.5, 0.5))
def test_a_kink_keeps_the_algebraic_bound_and_no_geometric_one(degree: int, kink: float) -> None:
    # |z − z_0|: the variation of its slope is 2, so 2V / (π ν (d − ν)^ν) is 4/π/(d − 1). 1024 samples stand for the
    # series; their own error is the bound at their order, twice for aliasing.
    c = chebyshev_coefficients(lambda z: (z - kink).abs(), 1.0, 1024)
    line = torch.linspace(-1, 1, 501, dtype=F64)
    series = np.polynomial.chebyshev.chebval(line.numpy(), c[: degree + 1].numpy())
    error = float((torch.tensor(series) - (line - kink).abs()).abs().max())
    # Best approximation of |z| errs by 0.28 / d (Bernstein, 1914), so no polynomial does much better.
    assert 0.1 / degree <= error <= 4 / math.pi * (1 / (degree - 1) + 2 / 1022)


@pytest.mark.parametrize("name", PAPER)
@settings(max_examples=10)
@given(
    seed=seeds,
    r=st.integers(1, 4),
    bound=st.sampled_from([0.01, 0.1, 1.0, 3.0]),
    eps=st.sampled_from([1e-2, 1e-4, 1e-6]),
)
def test_the_measured_rank_never_passes_the_predicted_one(
    name: str, seed: int, r: int, bound: float, eps: float
) -> None:
    basis = BASES.create(name)
    f = drawn_transfer(basis, seed, 5, residual=bool(seed % 2), centered=bool(seed % 3))
    m, n = 30, 36
    if (interval := basis.properties().interval) is not None:
        bound = min(bound, interval / LARGEST_BANDWIDTH)  # beyond it φ has kinks, and a tail that is as long
    # A spline has kinks in its second derivative, and a tail of k^−3 that does not come to an end before order 512.
    assume(name != "bspline" or eps > 1e-6)
    predicted = rank_at_precision(f, r, bound, eps)
    B, A = drawn_pair(seed, m, n, r, bound)
    measured = epsilon_rank(f(B @ A), predicted.threshold(m, n))
    assert measured <= predicted.rank
    assert predicted.rank == degree_rank_bound(r, predicted.degree, centered=f.centered)


@given(seed=seeds, r=st.integers(1, 8))
def test_in_the_ranges_of_lora_a_smooth_phi_is_a_straight_line(seed: int, r: int) -> None:
    # Curvature over slope is at most 1 or so at ω = 1 with the residual path: at |z| ≤ 1e-3 the bend is below 1e-2.
    f = drawn_transfer(BASES.create("gaussian"), seed, 3, residual=True, centered=True)
    slope = (f(torch.tensor([1e-6], dtype=F64)) / 1e-6).abs()
    assume(float(slope) > 0.5)
    assert rank_at_precision(f, r, 1e-3, 1e-2).rank == r


def test_a_prediction_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match="zero on"):
        rank_at_precision(torch.zeros_like, 2, 1.0, 1e-3)
    with pytest.raises(ValueError, match="no polynomial"):
        rank_at_precision(torch.sign, 2, 1.0, 1e-3)
    with pytest.raises(ValueError, match="eps"):
        rank_at_precision(torch.sin, 2, 1.0, 0.0)


# -- Stable rank ------------------------------------------------------------------------------------------------


def change_bound(rank: float, change: float) -> float:
    """Law 5: how far √s moves for a change of M by ``change`` · σ_max."""
    return change * (1 + math.sqrt(rank)) / (1 - change)


@given(seed=seeds, size=st.floats(1e-8, 0.9), k=st.integers(1, 8))
def test_the_bound_on_the_change_of_the_stable_rank_holds(seed: int, size: float, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    m = torch.randn(8, 9, dtype=F64, generator=generator) * torch.logspace(0, -k, 9, dtype=F64)
    noise = torch.randn(8, 9, dtype=F64, generator=generator)
    noise *= size * float(torch.linalg.matrix_norm(m, 2)) / float(noise.norm())
    before, after = stable_rank(m), stable_rank(m + noise)
    assert abs(math.sqrt(after) - math.sqrt(before)) <= change_bound(before, size) + 1e-12


@given(n=st.integers(1, 30), size=st.floats(1e-6, 0.5))
def test_and_its_slope_is_the_least_possible_up_to_a_factor_of_two(n: int, size: float) -> None:
    # The identity with its first entry raised by δ: √s falls from √n to √(n − 1 + (1 + δ)²) / (1 + δ), at the rate
    # (n − 1)/√n, where the bound has 1 + √n.
    moved = torch.eye(n, dtype=F64)
    moved[0, 0] += size
    change = abs(math.sqrt(stable_rank(moved)) - math.sqrt(n))
    bound = change_bound(n, size)
    assert change <= bound + 1e-12
    if n >= 10 and size < 0.01:
        assert change >= 0.5 * bound

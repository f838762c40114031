"""Singular values, ranks and truncations of any matrix, held against PyTorch's decomposition in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lrlora.analysis.linalg import (
    RESOLUTION,
    SPECTRUM_AT,
    Truncation,
    effective_rank,
    nonlinear_fraction,
    randomized_factors,
    sampled_spectrum,
    singular_values,
    stable_rank,
)

F64 = torch.float64


@st.composite
def matrices(draw: st.DrawFn) -> Tensor:
    """Any shape, with singular values that fall slowly, fast, or to zero, at any scale that float32 has room for."""
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rank = draw(st.integers(1, min(rows, columns)))
    decay = draw(st.sampled_from([1.0, 0.7, 0.2]))
    left = torch.randn(rows, rank, dtype=F64, generator=generator)
    right = torch.randn(rank, columns, dtype=F64, generator=generator)
    scale = 10.0 ** draw(st.integers(-12, 12))
    return (scale * (left * decay ** torch.arange(rank, dtype=F64)) @ right).float()


def relative_error(matrix: Tensor, B: Tensor, A: Tensor) -> float:
    return float((matrix.double() - B.double() @ A.double()).norm() / matrix.double().norm())


def best_errors(matrix: Tensor) -> Tensor:
    """Relative errors at rank 0, 1, … (Eckart and Young)."""
    sigma = torch.linalg.svdvals(matrix.double())
    return torch.stack([sigma[k:].norm() for k in range(len(sigma) + 1)]) / sigma.norm()


@given(matrix=matrices())
def test_singular_values_are_those_of_the_decomposition_at_either_resolution(matrix: Tensor) -> None:
    exact = torch.linalg.svdvals(matrix.double())
    for resolution, tolerance in ((0.0, 1e-12), (RESOLUTION, 2 * RESOLUTION)):
        found = singular_values(matrix, resolution)
        torch.testing.assert_close(found, exact, atol=tolerance * float(exact[0]), rtol=0)
        assert (found.diff() <= 0).all()
        assert (found[exact < 0.5 * resolution * exact[0]] == 0).all()


@given(matrix=matrices(), scale=st.floats(1e-18, 1e18))
def test_ranks_are_ordered_and_free_of_scale(matrix: Tensor, scale: float) -> None:
    stable, effective = stable_rank(matrix), effective_rank(matrix)
    count = int((singular_values(matrix, RESOLUTION) > 0).sum())
    assert 1 - 1e-9 <= stable <= effective + 1e-9 <= count + 2e-9
    assert stable_rank(scale * matrix.double().T) == pytest.approx(stable, rel=1e-9)
    assert stable_rank(singular_values(matrix, RESOLUTION)) == stable


@given(matrix=matrices(), factor=st.floats(-100, 100).filter(lambda c: abs(c) > 1e-6))
def test_the_nonlinear_fraction_is_what_no_multiple_of_the_product_explains(matrix: Tensor, factor: float) -> None:
    product = matrix.double() / matrix.double().norm()
    assert nonlinear_fraction(factor * product, product) <= 1e-12
    delta = product + product.square() / 2  # zero nowhere but where the product is
    found = nonlinear_fraction(delta, product)
    assert all(found <= float((delta - c * product).norm() / delta.norm()) + 1e-9 for c in (0.0, 0.9, 1.0, 1.1))
    assert nonlinear_fraction(factor * delta, product) == pytest.approx(found, rel=1e-6, abs=1e-9)


@given(matrix=matrices())
def test_a_recorded_spectrum_has_one_length_and_both_ends(matrix: Tensor) -> None:
    sigma = singular_values(matrix)
    kept = sampled_spectrum(sigma)
    assert len(kept) == len(SPECTRUM_AT)
    assert (kept[0], kept[-1]) == (1, pytest.approx(float(sigma[-1] / sigma[0]), rel=1e-3))
    assert sorted(kept, reverse=True) == list(kept)


def test_measures_of_nothing_and_of_what_is_not_finite() -> None:
    nothing = torch.zeros(3, 4)
    assert (stable_rank(nothing), effective_rank(nothing), nonlinear_fraction(nothing, nothing)) == (0, 0, 0)
    assert sampled_spectrum(singular_values(nothing)) == (0.0,) * len(SPECTRUM_AT)
    for broken in (torch.full((3, 4), math.nan), torch.full((3, 4), math.inf)):
        assert singular_values(broken).isnan().all()
        assert math.isnan(stable_rank(broken))


@given(matrix=matrices(), rank=st.integers(1, 14))
def test_a_truncation_is_the_best_of_its_rank_and_reports_its_actual_error(matrix: Tensor, rank: int) -> None:
    truncation = Truncation(matrix)
    found = truncation.factors(rank)
    assert found.rank == min(rank, *matrix.shape)
    assert found.error == pytest.approx(relative_error(matrix, found.B, found.A), rel=1e-6, abs=1e-12)
    assert found.norm == pytest.approx(float(matrix.double().norm()), rel=1e-12)
    best = best_errors(matrix)
    assert found.error == pytest.approx(float(best[found.rank]), rel=1e-4, abs=2e-6)  # up to rounding of the factors
    torch.testing.assert_close(truncation.errors, best, rtol=1e-4, atol=2e-6)


@given(matrix=matrices(), error=st.floats(1e-5, 0.99))
def test_the_rank_for_an_error_is_enough_and_one_less_is_not(matrix: Tensor, error: float) -> None:
    truncation = Truncation(matrix)
    rank = truncation.rank_within(error)
    assert truncation.factors(rank).error <= error + 1e-6
    if rank > 1:
        assert truncation.factors(rank - 1).error > error - 1e-6


@given(matrix=matrices(), rank=st.integers(1, 12))
def test_a_random_subspace_is_nearly_as_good_reproducible_and_says_how_good(matrix: Tensor, rank: int) -> None:
    state = torch.get_rng_state()
    found = randomized_factors(matrix, rank)
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers stay as they are"
    assert found.error == pytest.approx(relative_error(matrix, found.B, found.A), rel=1e-6, abs=1e-12)
    assert found.error <= 1.01 * float(best_errors(matrix)[found.rank]) + 1e-5
    assert torch.equal(randomized_factors(matrix, rank).B, found.B)


def test_a_matrix_wider_than_a_block_is_truncated_as_a_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(5, 3, generator=generator) @ torch.randn(3, 20_000, generator=generator)
    for whole in (matrix, matrix.T):
        for found in (Truncation(whole).factors(3), randomized_factors(whole, 3)):
            assert found.error == pytest.approx(relative_error(whole, found.B, found.A), rel=1e-3)
            assert found.error < 1e-6


def test_zero_is_a_product_of_zeros() -> None:
    for found in (Truncation(torch.zeros(3, 5)).factors(4), randomized_factors(torch.zeros(3, 5), 4)):
        assert (found.norm, found.error, found.B.count_nonzero(), found.A.count_nonzero()) == (0.0, 0.0, 0, 0)
    assert Truncation(torch.zeros(3, 5)).rank_within(0.1) == 1

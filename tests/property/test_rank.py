"""What φ can and cannot do to the rank, and what the measures of rank are."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrlora.analysis import effective_rank, nonlinear_fraction, stable_rank
from lrlora.bases import BASES
from lrlora.transfer import TransferFunction

F64 = torch.float64


def pair(seed: int, r: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(r, 30, dtype=F64, generator=generator),
        torch.randn(40, r, dtype=F64, generator=generator) / math.sqrt(r),
    )


@given(seed=st.integers(0, 2**31), r=st.integers(1, 3), degree=st.integers(1, 3))
def test_a_polynomial_of_degree_d_never_passes_its_bound_on_the_rank(seed: int, r: int, degree: int) -> None:
    # (BA)^{∘k} factors over the monomials of degree k in r variables: C(r + d, d) of them up to degree d, and one fewer
    # without the constant.
    A, B = pair(seed, r)
    n = degree
    a = torch.randn(n, dtype=F64, generator=torch.Generator().manual_seed(seed + 1)) + 2.0
    one = torch.ones(n, dtype=F64)
    f = TransferFunction(BASES.create("polynomial"), a, one, torch.zeros(n, dtype=F64), residual=False, centered=True)
    sigma = torch.linalg.svdvals(f(B @ A))
    bound = math.comb(r + degree, degree) - 1
    assert (sigma[bound:] <= 1e-9 * sigma[0]).all()


@given(seed=st.integers(0, 2**31))
def test_a_sinc_lifts_a_product_of_rank_one_far_above_rank_one(seed: int) -> None:
    A, B = pair(seed, 1)
    grid = torch.linspace(-3, 3, 50, dtype=F64)
    a = torch.randn(50, dtype=F64, generator=torch.Generator().manual_seed(seed + 1))
    f = TransferFunction(BASES.create("sinc"), a, torch.ones(50, dtype=F64), grid, residual=False)
    assert torch.linalg.matrix_rank(f(B @ A)) > 3


@given(seed=st.integers(0, 2**31), r=st.integers(1, 8), scale=st.floats(1e-18, 1e18))
def test_stable_rank_is_free_of_scale_and_between_one_and_the_rank(seed: int, r: int, scale: float) -> None:
    A, B = pair(seed, r)
    rank = stable_rank(B @ A)
    assert 1 - 1e-9 <= rank <= r + 1e-9
    assert stable_rank(scale * (B @ A)) == pytest.approx(rank, rel=1e-9)
    assert 1 - 1e-9 <= effective_rank(B @ A) <= r + 1e-6


@given(seed=st.integers(0, 2**31), factor=st.floats(-100, 100).filter(lambda c: abs(c) > 1e-6))
def test_the_nonlinear_fraction_of_a_straight_line_is_zero_and_of_anything_else_at_most_one(
    seed: int, factor: float
) -> None:
    A, B = pair(seed, 3)
    product = B @ A
    assert nonlinear_fraction(factor * product, product) <= 1e-7
    assert 0 < nonlinear_fraction(product.square(), product) <= 1 + 1e-12


def test_measures_of_nothing_and_of_what_is_not_finite() -> None:
    nothing = torch.zeros(3, 4)
    assert (stable_rank(nothing), effective_rank(nothing), nonlinear_fraction(nothing, nothing)) == (0, 0, 0)
    assert math.isnan(stable_rank(torch.full((3, 4), float("nan"))))

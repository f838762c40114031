"""What the docstrings of single policies state; what every policy keeps is in tests/unit/testing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrlora.bases import BASES, ShiftedBasis
from lrlora.policies import (
    AMPLITUDES,
    BANDWIDTHS,
    GRIDS,
    LAYER_CHOICES,
    RANKS,
    Start,
)
from lrlora.tuner.theta import GridPoints

F64 = torch.float64


@given(n=st.integers(2, 60), seed=st.integers(0, 2**31))
def test_a_learned_grid_starts_where_it_should_and_no_step_puts_it_out_of_order(n: int, seed: int) -> None:
    points = GRIDS.create("learned").points(n, 3.0)
    learned = GridPoints(points, learned=True)
    torch.testing.assert_close(learned().double(), points, rtol=0, atol=1e-5)
    with torch.no_grad():
        learned.weight.add_(3 * torch.randn(n, generator=torch.Generator().manual_seed(seed)))
    assert (learned().diff() >= 0).all()


@pytest.mark.parametrize("basis", ["sinc", "gaussian", "bspline", "polynomial"])
@pytest.mark.parametrize("n", [20, 50, 200])
def test_the_identity_start_is_a_straight_line(basis: str, n: int) -> None:
    grid, one = GRIDS.create("uniform").points(n, 3.0), torch.ones(n, dtype=F64)
    made = BASES.create(basis)
    a = AMPLITUDES.create("identity").values(Start(made, grid, one, 3.0, 0.0))
    z = torch.linspace(-3, 3, 301, dtype=F64)
    phi = (made.matrix(z, grid, one) - made.matrix(torch.zeros((), dtype=F64), grid, one)) @ a
    assert (phi - z).norm() <= 0.02 * z.norm()


def test_a_basis_that_cannot_be_linear_says_so() -> None:
    grid, one = GRIDS.create("uniform").points(10, 3.0), torch.ones(10, dtype=F64)
    with pytest.warns(UserWarning, match="best linear fit by basis Fourier"):
        AMPLITUDES.create("identity").values(Start(BASES.create("fourier"), grid, one, 3.0, 0.0))


class _NotFinite(ShiftedBasis):
    def kernel(self, u: torch.Tensor) -> torch.Tensor:
        return torch.log(u)


class _Rippled(ShiftedBasis):
    """Straight at the points of the fit, and far from it between them."""

    def matrix(self, z: torch.Tensor, grid: torch.Tensor, bandwidth: torch.Tensor) -> torch.Tensor:
        ripple = torch.sin(2 * torch.pi * 64 / 6 * z.unsqueeze(-1))
        return z.unsqueeze(-1) * bandwidth + ripple * grid.sign()

    def kernel(self, u: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


def test_an_identity_start_of_a_broken_basis_says_where_it_is_broken() -> None:
    grid, one = torch.linspace(-3, 3, 8, dtype=torch.float64), torch.ones(8, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"is not finite at z = -3$"):
        AMPLITUDES.create("identity").values(Start(_NotFinite(), grid, one, 3.0, 0.0))


def test_an_identity_start_is_judged_between_the_points_of_its_fit() -> None:
    grid, one = torch.linspace(-3, 3, 8, dtype=torch.float64), torch.ones(8, dtype=torch.float64)
    a = torch.linspace(1, 2, 8, dtype=torch.float64)
    start = Start(_Rippled(), grid + a, one, 3.0, 0.0)
    with pytest.warns(UserWarning, match="off"):
        AMPLITUDES.create("identity").values(start)


@given(depth=st.floats(0, 1), first=st.floats(0.1, 10), last=st.floats(0.1, 10))
def test_bandwidths_by_depth_go_from_first_to_last(depth: float, first: float, last: float) -> None:
    by_depth = BANDWIDTHS.create(f"by_depth:{first},{last}")
    assert by_depth.value(0.0) == pytest.approx(first)
    assert by_depth.value(1.0) == pytest.approx(last)
    assert min(first, last) * (1 - 1e-9) <= by_depth.value(depth) <= max(first, last) * (1 + 1e-9)


def test_ranks_are_those_of_the_adaptive_lora_paper() -> None:
    # Section 3.1 at its base rank of 16 and its minimum of 4, over the 24 layers of its model.
    decay = [RANKS.create("linear_decay:4").rank(16, "q", depth, 24) for depth in range(24)]
    assert (decay[0], decay[-1]) == (16, 4)
    assert decay == sorted(decay, reverse=True)
    heavy = RANKS.create("attention_heavy:4")
    assert (heavy.rank(16, "q", 0, 24), heavy.rank(16, "down", 0, 24)) == (16, 8)
    empirical = RANKS.create("empirical")
    assert [empirical.rank(16, "q", depth, 24) for depth in (0, 7, 8, 16, 17, 23)] == [10, 10, 19, 19, 16, 16]


@given(k=st.integers(1, 8), layers=st.integers(1, 20))
def test_first_last_takes_k_layers_from_either_end(k: int, layers: int) -> None:
    choice = LAYER_CHOICES.create(f"first_last:{k}")
    assert sum(choice.has(i, layers) for i in range(layers)) == min(2 * k, layers)


@given(layers=st.integers(1, 20))
def test_odd_and_even_layers_are_all_layers(layers: int) -> None:
    odd, even = LAYER_CHOICES.create("odd"), LAYER_CHOICES.create("even")
    assert all(odd.has(i, layers) != even.has(i, layers) for i in range(layers))
    assert even.has(0, layers)

"""The strategies keep what they promise and shrink to what can be read; and whole variants keep PEFT's laws."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from torch import tensor

from lrlora import LRLoraConfig, TransferFunction
from lrlora.bases import BASES, Basis, register
from lrlora.bases.sinc import Sinc
from lrlora.testing.strategies import (
    LowRankPair,
    PlacedGrid,
    Theta,
    TinyModel,
    bases,
    grids,
    low_rank_pairs,
    thetas,
    tiny_models,
    transfer_functions,
    variants,
)
from lrlora.testing.tiny_models import adapted, saved_and_loaded

FEW = settings(max_examples=12)
PASTED = {
    one.__name__: one
    for one in (LowRankPair, PlacedGrid, Theta, TinyModel, LRLoraConfig, tensor, type(BASES.create("bspline")))
} | {"torch": torch}


def counter_example(strategy: st.SearchStrategy[Any], holds: Callable[[Any], bool]) -> str:
    """What hypothesis prints of the smallest value for which a planted claim does not hold."""

    @settings(database=None, derandomize=True, phases=[Phase.generate, Phase.shrink])
    @given(strategy)
    def claim(value: Any) -> None:
        assert holds(value)

    with pytest.raises(AssertionError) as failure:
        claim()
    printed = "\n".join(failure.value.__notes__)
    found = re.search(r"value=(.*?),(?:  # .*)?\n\)", printed, flags=re.DOTALL)
    assert found is not None, printed
    return re.sub(r"\(\s+", "(", " ".join(found.group(1).split()))


# -- what they promise --------------------------------------------------------------------------------------


@given(low_rank_pairs(size=(0.5, 2.0)))
def test_the_largest_entry_of_a_pair_has_the_size_that_was_asked(pair: LowRankPair) -> None:
    assert 0.5 <= float(pair.product.abs().max()) <= 2.0
    assert pair.A.dtype is pair.B.dtype is torch.float64


@given(low_rank_pairs(kinds=["rows are equal"]))
def test_a_pair_of_equal_rows_has_equal_rows(pair: LowRankPair) -> None:
    assert torch.equal(pair.product, pair.product[:1].expand_as(pair.product))


@FEW
@given(low_rank_pairs(size=(0.0, 0.07)), thetas())
def test_what_is_printed_is_the_same_tensor_when_pasted(pair: LowRankPair, theta: Theta) -> None:
    for value in (pair.A, pair.B, theta.amplitude, theta.bandwidth):
        assert torch.equal(eval(repr(value), PASTED), value)


def test_every_degenerate_pair_is_found() -> None:
    seek = settings(phases=[Phase.generate], derandomize=True, max_examples=500, database=None)
    assert find(low_rank_pairs(), lambda p: len(p.A) > 1 and not p.A.any(), settings=seek) is not None
    deficient = find(low_rank_pairs(), lambda p: len(p.A) == 2 and p.A.any() and torch.equal(*p.A), settings=seek)
    assert torch.linalg.matrix_rank(deficient.A) == 1


@given(grids(max_points=40))
def test_grids_increase_within_their_bound(grid: PlacedGrid) -> None:
    assert (grid.points.diff() > 0).all()
    assert grid.points.abs().max() <= grid.bound
    assert grid.points.dtype is torch.float64


@FEW
@given(st.data())
def test_thetas_fit_their_basis(data: st.DataObject) -> None:
    basis = data.draw(bases())
    theta = data.draw(thetas(basis, dtype=torch.float32))
    values = basis.matrix(torch.zeros(3), theta.grid, theta.bandwidth)
    assert values.shape == (3, len(theta.amplitude))
    assert (theta.bandwidth > 0).all()


@pytest.mark.parametrize("name", BASES.names())
def test_every_registered_basis_is_drawn(name: str) -> None:
    assert isinstance(find(bases([name]), lambda basis: True), Basis)


def test_a_basis_that_cannot_be_made_without_being_told_how_is_left_out(forgetting: None) -> None:
    """A plugin with a required option must not take the strategies from everybody else."""

    @register("test_needs_an_option")
    class NeedsAnOption(Sinc):
        def __init__(self, width: float) -> None:
            self.width = width

    assert isinstance(find(bases(), lambda basis: True), Basis)
    with pytest.raises(TypeError, match="needs the argument 'width'"):
        find(bases(["test_needs_an_option"]), lambda basis: True)


@FEW
@given(transfer_functions())
def test_transfer_functions_evaluate(f: TransferFunction) -> None:
    assert f(torch.zeros(2, dtype=torch.float64)).shape == (2,)


# -- what can be read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "holds", "printed"),
    [
        (
            low_rank_pairs(),
            lambda pair: False,
            "LowRankPair(A=tensor([[0.]], dtype=torch.float64), B=tensor([[0.]], dtype=torch.float64))",
        ),
        (
            low_rank_pairs(),
            lambda pair: float(pair.product.abs().max()) < 1,
            "LowRankPair(A=tensor([[1.]], dtype=torch.float64), B=tensor([[1.]], dtype=torch.float64))",
        ),
        (
            grids(),
            lambda grid: len(grid.points) < 1,
            "PlacedGrid(points=tensor([0.], dtype=torch.float64), bound=1.0)",
        ),
        (thetas(), lambda theta: float(theta.amplitude.abs().max()) < 1, None),
        (tiny_models(), lambda tiny: tiny.kind != "gpt2", "TinyModel('gpt2', 1)"),
        (variants(), lambda config: False, "LRLoraConfig()"),
        (variants(), lambda config: config.basis == "sinc", "LRLoraConfig(basis='bspline')"),
        (variants(), lambda config: config.num_grid_points > 6, "LRLoraConfig(num_grid_points=1)"),
    ],
    ids=["pair", "large pair", "grid", "large amplitude", "family", "variant", "basis", "few points"],
)
def test_a_counter_example_is_the_simplest_and_can_be_pasted(
    strategy: st.SearchStrategy[Any], holds: Callable[[Any], bool], printed: str | None
) -> None:
    found = counter_example(strategy, holds)
    if printed is not None:
        assert found == printed
    assert not holds(eval(found, PASTED))  # what was printed is code, and fails as well


def test_a_transfer_function_shrinks_to_the_simplest_one() -> None:
    f = find(transfer_functions(), lambda f: f.basis.uses_grid)
    assert f.basis == BASES.create("bspline")
    assert (f.amplitude.tolist(), f.bandwidth.tolist(), f.grid.tolist()) == ([0.0], [1.0], [0.0])
    assert (f.input_scale, f.output_scale, f.residual, f.centered) == (1.0, 1.0, True, True)


def test_a_pair_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of pair 'diagonal'"):
        find(low_rank_pairs(kinds=["diagonal"]), lambda pair: True)


def test_a_tiny_model_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="a tiny model is one of linear, "):
        TinyModel("resnet")


def test_without_hypothesis_the_strategies_say_how_to_get_it_and_the_checks_work() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import lrlora.testing\n"
        "try: import lrlora.testing.strategies\n"
        "except ImportError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout == "lrlora.testing.strategies needs hypothesis: pip install 'lrlora[testing]'\n", ran.stderr


# -- laws of whole variants ---------------------------------------------------------------------------------


def model_and_variant(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[TinyModel, LRLoraConfig]]:
    # Few points always: polynomials of degree 50, far outside their interval, are not finite in float32.
    fields["num_grid_points"] = st.integers(1, 4)
    return tiny_models().flatmap(lambda tiny: st.tuples(st.just(tiny), variants(tiny, **fields)))


@FEW
@given(model_and_variant(init_weights=st.just(True), centered=st.just(True), amplitude_init=st.just("small")))
def test_every_centered_variant_starts_as_the_identity(drawn: tuple[TinyModel, LRLoraConfig]) -> None:
    tiny, config = drawn
    base = tiny.output(tiny.build())
    torch.testing.assert_close(tiny.output(adapted(tiny, config)), base, rtol=1e-5, atol=1e-6)


@FEW
@given(model_and_variant(init_weights=st.just(False)))
def test_every_variant_says_the_same_after_saving_and_loading(drawn: tuple[TinyModel, LRLoraConfig]) -> None:
    tiny, config = drawn
    model = adapted(tiny, config)
    torch.testing.assert_close(tiny.output(saved_and_loaded(tiny, model)), tiny.output(model), rtol=1e-5, atol=1e-6)


@FEW
@given(model_and_variant(init_weights=st.just(False)))
def test_every_variant_answers_merged_as_it_does_unmerged(drawn: tuple[TinyModel, LRLoraConfig]) -> None:
    tiny, config = drawn
    model = adapted(tiny, config)
    with torch.no_grad():
        before = tiny.output(model)
        model.merge_adapter()
        merged = tiny.output(model)
    scale = float(before.abs().max())
    torch.testing.assert_close(merged, before, rtol=1e-3, atol=1e-4 * scale + 1e-6)

"""What truncation promises, for any matrix; and that LoRA survives the way through LR-LoRA and back."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from lrlora import LRLoraConfig
from lrlora.export import from_lora, to_lora
from lrlora.export.to_lora import adapted_layers
from lrlora.analysis.linalg import Truncation, randomized_factors

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
    """By PyTorch's own decomposition: relative errors at rank 0, 1, …"""
    sigma = torch.linalg.svdvals(matrix.double())
    return torch.stack([sigma[k:].norm() for k in range(len(sigma) + 1)]) / sigma.norm()


@given(matrix=matrices(), rank=st.integers(1, 14))
def test_the_reported_error_is_the_actual_one_and_the_best_of_its_rank(matrix: Tensor, rank: int) -> None:
    found = Truncation(matrix).factors(rank)
    assert found.rank == min(rank, *matrix.shape)
    assert found.error == pytest.approx(relative_error(matrix, found.B, found.A), rel=1e-6, abs=1e-12)
    assert found.norm == pytest.approx(float(matrix.double().norm()), rel=1e-12)
    # Eckart and Young, up to the rounding of the stored factors.
    assert found.error == pytest.approx(float(best_errors(matrix)[found.rank]), rel=1e-4, abs=2e-6)


@given(matrix=matrices())
def test_no_rank_is_worse_than_a_smaller_one(matrix: Tensor) -> None:
    spectrum = Truncation(matrix)
    errors = [spectrum.factors(k).error for k in range(1, min(matrix.shape) + 1)]
    assert all(after <= before + 2e-6 for before, after in pairwise(errors))
    assert errors[-1] <= 2e-6
    assert (spectrum.errors.diff() <= 0).all()


@given(matrix=matrices(), error=st.floats(1e-5, 0.99))
def test_the_rank_for_an_error_is_enough_and_one_less_is_not(matrix: Tensor, error: float) -> None:
    spectrum = Truncation(matrix)
    rank = spectrum.rank_within(error)
    assert spectrum.factors(rank).error <= error + 1e-6
    if rank > 1:
        assert spectrum.factors(rank - 1).error > error - 1e-6


@given(matrix=matrices(), rank=st.integers(1, 12))
def test_a_random_subspace_is_nearly_as_good_and_says_how_good(matrix: Tensor, rank: int) -> None:
    found = randomized_factors(matrix, rank)
    assert found.error == pytest.approx(relative_error(matrix, found.B, found.A), rel=1e-6, abs=1e-12)
    assert found.error <= 1.01 * float(best_errors(matrix)[found.rank]) + 1e-5


def test_nothing_is_a_product_of_rank_one() -> None:
    found = Truncation(torch.zeros(3, 5)).factors(4)
    assert (found.norm, found.error, found.B.count_nonzero(), found.A.count_nonzero()) == (0.0, 0.0, 0, 0)
    assert Truncation(torch.zeros(3, 5)).rank_within(0.1) == 1
    assert randomized_factors(torch.zeros(3, 5), 2).error == 0.0


def base() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 9))


lora_fields = st.fixed_dictionaries(
    {
        "r": st.integers(1, 6),
        "lora_alpha": st.integers(1, 64),
        "use_rslora": st.booleans(),
        "rank_pattern": st.sampled_from([{}, {"0": 3}, {"2": 1}]),
        "alpha_pattern": st.sampled_from([{}, {"0": 5}, {"2": 32}]),
    }
)


def random_lora(fields: dict[str, object], seed: int) -> PeftModel:
    model = get_peft_model(base(), LoraConfig(target_modules=["0", "2"], **fields))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                nn.init.normal_(parameter)
    return model


def deltas_of_lora(model: PeftModel) -> dict[str, Tensor]:
    layers = model.base_model.model
    return {name: layers[int(name)].get_delta_weight("default").detach() for name in ("0", "2")}


@settings(max_examples=25)
@given(fields=lora_fields, seed=st.integers(0, 2**31), basis=st.sampled_from(["sinc", "gaussian", "fourier"]))
def test_lora_through_lrlora_and_back_is_the_same_update(fields: dict[str, object], seed: int, basis: str) -> None:
    lora = random_lora(fields, seed)
    config, state = from_lora(lora, basis=basis, num_grid_points=5)
    through = get_peft_model(base(), config)
    set_peft_model_state_dict(through, state)
    expected = deltas_of_lora(lora)
    for name, layer in adapted_layers(through, "default").items():
        torch.testing.assert_close(layer.delta_matrix("default").detach(), expected[name], rtol=1e-4, atol=1e-5)

    back = to_lora(through)
    assert all(row.exact and row.error == 0 for row in back.rows)
    returned = get_peft_model(base(), back.config)
    set_peft_model_state_dict(returned, back.state_dict)
    for name, delta in deltas_of_lora(returned).items():
        torch.testing.assert_close(delta, expected[name], rtol=1e-5, atol=1e-6)
    # And the factors are LoRA's own, to the bit.
    original = get_peft_model_state_dict(lora)
    assert original.keys() == back.state_dict.keys()
    assert all(torch.equal(original[key], tensor) for key, tensor in back.state_dict.items())


@settings(max_examples=25)
@given(
    r=st.integers(1, 4),
    alpha=st.integers(1, 32),
    seed=st.integers(0, 2**31),
    ranks=st.sampled_from([{}, {"0": 3}]),
)
def test_from_lora_after_to_lora_is_the_identity_where_phi_is_straight(
    r: int, alpha: int, seed: int, ranks: dict[str, int]
) -> None:
    model = get_peft_model(
        base(), LRLoraConfig(r=r, lora_alpha=alpha, rank_pattern=ranks, num_grid_points=5, target_modules=["0", "2"])
    )
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in adapted_layers(model, "default").values():
            layer.lrlora_B["default"].normal_()
    export = to_lora(model)
    lora = get_peft_model(base(), export.config)
    set_peft_model_state_dict(lora, export.state_dict)
    _, state = from_lora(lora, num_grid_points=5)
    original = get_peft_model_state_dict(model)
    assert state.keys() == original.keys()
    assert all(torch.equal(state[key], original[key]) for key in state)
    assert all(
        math.isclose(row.norm, float(layer.delta_matrix("default").detach().norm()), rel_tol=1e-4)
        for row, layer in zip(export.rows, adapted_layers(model, "default").values(), strict=True)
    )

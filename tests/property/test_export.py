"""LoRA survives the way through LR-LoRA and back, and LR-LoRA with a straight φ the way through LoRA and back."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from lrlora.export import from_lora, to_lora
from lrlora.export.to_lora import adapted_layers


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
def test_lora_through_lrlora_and_back_is_the_identity(fields: dict[str, object], seed: int, basis: str) -> None:
    lora = random_lora(fields, seed)
    config, state = from_lora(lora, basis=basis, num_grid_points=5)
    through = get_peft_model(base(), config)
    result = set_peft_model_state_dict(through, state)
    assert not result.unexpected_keys
    assert not [key for key in result.missing_keys if "lrlora" in key]
    expected = deltas_of_lora(lora)
    for name, layer in adapted_layers(through, "default").items():
        torch.testing.assert_close(layer.delta_matrix("default").detach(), expected[name], rtol=1e-4, atol=1e-5)

    back = to_lora(through)
    for row in back.rows:
        assert row.exact
        assert row.error == 0
        assert math.isclose(row.norm, float(expected[row.module].norm()), rel_tol=1e-4)
    assert same(back.state_dict, get_peft_model_state_dict(lora)), "the factors are LoRA's own, to the bit"
    returned = get_peft_model(base(), back.config)
    set_peft_model_state_dict(returned, back.state_dict)
    for name, delta in deltas_of_lora(returned).items():
        torch.testing.assert_close(delta, expected[name], rtol=1e-5, atol=1e-6)
    again = from_lora(returned, basis=basis, num_grid_points=5)[1]
    assert same(again, state)
    assert same(again, get_peft_model_state_dict(through))


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)

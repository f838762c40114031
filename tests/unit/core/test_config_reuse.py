"""One config serves any number of models: what is resolved for one is written to a copy, which is what is saved."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from lrlora import LRLoraConfig

SIZES = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 11,
}
RESOLVED = [
    {"placement": "all"},
    {"placement": "attention", "layers": "first_last:1", "rank_allocation": "linear_decay:1", "r": 4},
    {"target_modules": "all-linear", "layers": "even"},
    {"target_modules": [f"model.layers.{i}.self_attn.{role}_proj" for i in range(5) for role in "qkvo"]},
    {"target_modules": ["q_proj", "up_proj"], "rank_allocation": "empirical", "rank_pattern": {"up_proj": 3}},
]


def llama(layers: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_hidden_layers=layers))


@pytest.mark.parametrize("given", RESOLVED, ids=lambda given: " ".join(given))
def test_a_config_used_twice_adapts_what_a_new_one_does(given: dict[str, Any]) -> None:
    config = LRLoraConfig(**given)
    before = copy.deepcopy(config)
    for layers in (2, 4):
        used = get_peft_model(llama(layers), config)
        new = get_peft_model(llama(layers), LRLoraConfig(**given))
        assert config == before
        assert used.targeted_module_names == new.targeted_module_names
        assert used.peft_config["default"] == new.peft_config["default"]


def test_all_modules_of_both_models_are_adapted() -> None:
    config = LRLoraConfig()
    found = [len(get_peft_model(llama(layers), config).targeted_module_names) for layers in (2, 4)]
    assert found == [14, 28]


def test_two_adapters_of_one_config_are_saved_resolved_and_load(tmp_path: Path) -> None:
    config = LRLoraConfig(layers=[0], rank_allocation="attention_heavy:1", r=4, init_weights=False)
    model = get_peft_model(llama(2), config)
    model.add_adapter("second", config)
    assert model.peft_config["default"] == model.peft_config["second"]
    assert model.peft_config["default"] is not model.peft_config["second"]
    assert (config.target_modules, config.rank_pattern) == (None, {})
    model.set_adapter("second")
    model.save_pretrained(tmp_path)
    tokens = torch.arange(6)[None]
    for folder, adapter in ((tmp_path, "default"), (tmp_path / "second", "second")):
        saved = json.loads((folder / "adapter_config.json").read_text())
        assert len(saved["target_modules"]) == 7
        assert set(saved["rank_pattern"].values()) == {2}
        model.set_adapter(adapter)
        loaded = PeftModel.from_pretrained(llama(2), folder)  # in evaluation mode, where plans have no room for growth
        assert torch.equal(loaded(tokens).logits, model.eval()(tokens).logits)


@pytest.mark.parametrize(
    "given",
    [
        {"layers_to_transform": [1]},
        {"layers_to_transform": 0, "layers_pattern": "layers"},
        {"layers_to_transform": []},
        {"rank_pattern": {"q_proj": 2, r"layers\.1\..*": 5}, "alpha_pattern": {"k_proj": 3}},
    ],
    ids=str,
)
def test_layers_and_patterns_mean_what_they_mean_to_lora(given: dict[str, Any]) -> None:
    targets = ["q_proj", "k_proj"]
    lora = get_peft_model(llama(2), LoraConfig(r=4, target_modules=targets, **given))
    for ours in (LRLoraConfig(r=4, target_modules=targets, **given), LRLoraConfig(r=4, placement="roles:q+k", **given)):
        model = get_peft_model(llama(2), ours)
        assert model.targeted_module_names == lora.targeted_module_names
        for name in lora.targeted_module_names:
            module, theirs = (one.get_base_model().get_submodule(name) for one in (model, lora))
            assert (module.r, module.scaling) == (theirs.r, theirs.scaling)


def test_layers_that_are_not_there_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^no module is left to adapt: none of 14 modules is in .*=\[7\].*$"):
        get_peft_model(llama(2), LRLoraConfig(layers_to_transform=[7]))


def test_all_linear_names_the_experts_that_it_leaves_out() -> None:
    model = MixtralForCausalLM(MixtralConfig(**SIZES, num_hidden_layers=2, num_local_experts=4))
    with pytest.warns(UserWarning, match=r"leaves out .*mlp\.gate\.weight, .*experts\.gate_up_proj, .*down_proj:"):
        adapted = get_peft_model(model, LRLoraConfig(target_modules="all-linear"))
    assert len(adapted.targeted_module_names) == 8
    get_peft_model(llama(1), LRLoraConfig(target_modules="all-linear"))  # without a warning, which would be an error

"""Placements find the projections of every family by their role, and leave the rest alone."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from peft import get_peft_model
from torch import nn

from lrlora import LRLoraConfig
from lrlora.policies import allocate_ranks, depth_of, register_family, resolve_target_modules, role_of
from lrlora.policies import roles as roles_module
from lrlora.policies.roles import ATTENTION, MLP

Make = Callable[[str], nn.Module]
EXPECTED = {
    "llama": "q k v o gate up down",
    "qwen2": "q k v o gate up down",
    "mistral": "q k v o gate up down",
    "phi": "q k v o up down",
    "phi3": "qkv o gate_up down",
    "gpt2": "qkv o up down",
    "bert": "q k v o up down",
    "roberta": "q k v o up down",
    "vit": "q k v o up down",
}


def roles(model: nn.Module, names: list[str]) -> Counter:
    return Counter(role_of(name, model.config.model_type) for name in names)


def test_all_is_every_projection_of_every_layer_and_nothing_else(family: str, make_model: Make) -> None:
    model = make_model(family)
    assert roles(model, resolve_target_modules(model)) == dict.fromkeys(EXPECTED[family].split(), 3)


def test_a_placement_is_its_roles(family: str, make_model: Make) -> None:
    model = make_model(family)
    for placement, wanted in {
        "attention": set(ATTENTION),
        "mlp": set(MLP),
        "qkv": {"q", "k", "v", "qkv"},
        "gate_up": {"gate", "up", "gate_up"},
        "roles:o+down": {"o", "down"},
    }.items():
        found = roles(model, resolve_target_modules(model, placement))
        assert found == {role: 3 for role in EXPECTED[family].split() if role in wanted}, placement


@pytest.mark.parametrize(
    ("layers", "depths"), [("odd", {1}), ("even", {0, 2}), ("first_last:1", {0, 2}), ([1, 2], {1, 2})]
)
def test_layers_are_chosen_by_index(layers: str | list[int], depths: set[int], make_model: Make) -> None:
    names = resolve_target_modules(make_model("bert"), "mlp", layers)
    assert {depth_of(name) for name in names} == depths


def test_targets_and_placement_together_adapt_what_satisfies_both(make_model: Make) -> None:
    config = LRLoraConfig(target_modules="all-linear", placement="attention", layers="even")
    model = get_peft_model(make_model("bert"), config)
    assert {role_of(name, "bert") for name in model.base_model.targeted_module_names} == {"q", "k", "v", "o"}
    assert len(model.base_model.targeted_module_names) == 8
    only = get_peft_model(make_model("bert"), LRLoraConfig(target_modules=["query", "dense"], placement="mlp"))
    assert {role_of(name, "bert") for name in only.base_model.targeted_module_names} == {"up", "down"}


def test_layers_to_transform_counts_under_a_placement_too(make_model: Make) -> None:
    model = get_peft_model(make_model("llama"), LRLoraConfig(placement="mlp", layers_to_transform=[0, 2]))
    assert {depth_of(name) for name in model.base_model.targeted_module_names} == {0, 2}


def test_an_unknown_family_is_told_its_linear_modules_and_how_to_name_them() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"not known .*its linear modules end in: 0, 2.*all-linear.*register_family"):
        get_peft_model(model, LRLoraConfig())
    get_peft_model(model, LRLoraConfig(target_modules="all-linear"))


def test_a_family_can_be_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles_module, "_FAMILIES", dict(roles_module._FAMILIES))  # as it was, after the test

    class Config:
        model_type = "house_made"

    class House(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = Config()
            self.blocks = nn.ModuleList(nn.ModuleDict({"wq": nn.Linear(4, 4)}) for _ in range(2))

    register_family("house_made", {"wq": "q"})
    assert resolve_target_modules(House(), "qkv") == ["blocks.0.wq", "blocks.1.wq"]
    with pytest.raises(ValueError, match="unknown role 'query'"):
        register_family("house_made", {"wq": "query"})


def test_nothing_left_to_adapt_is_an_error_that_says_what_was_asked(make_model: Make) -> None:
    with pytest.raises(ValueError, match="no module is left to adapt: placement='qkv' and layers=\\[9\\]"):
        resolve_target_modules(make_model("bert"), "qkv", [9])


def test_an_allocation_gives_every_module_its_rank_and_rank_pattern_goes_first(make_model: Make) -> None:
    config = LRLoraConfig(r=8, rank_allocation="linear_decay:2", rank_pattern={"layer.0.attention.self.query": 3})
    model = get_peft_model(make_model("bert"), config)
    found = {
        name: module.r["default"]
        for name, module in model.base_model.model.named_modules()
        if hasattr(module, "lrlora_A")
    }
    assert found["bert.encoder.layer.0.attention.self.query"] == 3
    assert found["bert.encoder.layer.0.attention.self.key"] == 8
    assert found["bert.encoder.layer.1.output.dense"] == 5
    assert found["bert.encoder.layer.2.output.dense"] == 2


def test_an_allocation_works_for_plain_lora_too(make_model: Make) -> None:
    from peft import LoraConfig

    model = make_model("llama")
    names = resolve_target_modules(model)
    pattern = allocate_ranks(model, names, 8, "attention_heavy:2")
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules=names, rank_pattern=pattern))
    query = adapted.base_model.model.model.layers[0].self_attn.q_proj
    down = adapted.base_model.model.model.layers[0].mlp.down_proj
    assert (query.r["default"], down.r["default"]) == (8, 4)
    assert not torch.equal(query.lora_A["default"].weight, torch.zeros(()))

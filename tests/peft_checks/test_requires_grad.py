"""What takes gradients after each thing that can be done to the adapters of a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from custom_modules import MLP, rows
from peft import get_peft_model
from subjects import VARIANTS, Subject, layers_of

from lrlora import LRLoraConfig

LEARNED = ("lrlora_A", "lrlora_B", "lrlora_amplitude", "lrlora_bandwidth")
VARIED = {**VARIANTS, "saved beside": {"modules_to_save": ["lin1"]}}
RANK = {"r": 2, "num_grid_points": 6}


@pytest.fixture(params=VARIED.values(), ids=VARIED.keys())
def subject(request: pytest.FixtureRequest) -> Subject:
    return Subject("mlp", MLP, rows, {"target_modules": ["lin0"], **request.param})


def trained(model: torch.nn.Module) -> set[str]:
    """Adapters that take gradients, each with the part of the model that does."""
    return {name.removeprefix("base_model.model.") for name, p in model.named_parameters() if p.requires_grad}


def of(subject: Subject, *adapters: str, module: str = "lin0") -> set[str]:
    """What these adapters should train."""
    names = set()
    for adapter in adapters:
        for part in LEARNED:
            field = f"learn_{part.removeprefix('lrlora_')}"
            if subject.fields.get(field, True):
                names.add(f"{module}.{part}.{adapter}.weight")
        if subject.fields.get("grid") == "learned":
            names.add(f"{module}.lrlora_grid.{adapter}.weight")
        for saved in subject.fields.get("modules_to_save") or ():
            names |= {f"{saved}.modules_to_save.{adapter}.{what}" for what in ("weight", "bias")}
    return names


def test_a_new_adapter_trains(subject: Subject) -> None:
    assert trained(subject.adapted()) == of(subject, "default")


def test_one_that_is_added_does_not_until_it_is_set(subject: Subject) -> None:
    model = subject.adapted()
    subject.add(model, "other")
    assert trained(model) == of(subject, "default")
    model.set_adapter("other")
    assert trained(model) == of(subject, "other")
    model.set_adapter("default")
    assert trained(model) == of(subject, "default")


def test_one_for_inference_does_not(subject: Subject) -> None:
    config = subject.config(inference_mode=True)
    model = get_peft_model(subject.base(), config)
    assert trained(model) == set()
    model = subject.adapted()
    subject.add(model, "other", inference_mode=True)
    assert trained(model) <= of(subject, "default")
    model.set_adapter("other", inference_mode=True)
    assert trained(model) == set()
    model.set_adapter("other")
    assert trained(model) == of(subject, "other")


def test_several_active_ones_all_train(subject: Subject) -> None:
    if "modules_to_save" in subject.fields:
        subject = subject.varied("nothing beside", {"modules_to_save": None})
    model = subject.adapted()
    subject.add(model, "other")
    model.base_model.set_adapter(["default", "other"])
    assert trained(model) == of(subject, "default", "other")
    model.base_model.set_adapter(["other"])
    assert trained(model) == of(subject, "other")
    model.base_model.set_adapter(["default", "other"], inference_mode=True)
    assert trained(model) == set()


def test_disabled_none_does_and_enabled_the_active_one_does_again(subject: Subject) -> None:
    model = subject.adapted()
    subject.add(model, "other")
    with model.disable_adapter():
        assert not any(".lrlora_" in name for name in trained(model))
    assert trained(model) == of(subject, "default")
    model.base_model.disable_adapter_layers()
    model.base_model.enable_adapter_layers()
    assert trained(model) == of(subject, "default")


@pytest.mark.parametrize("trainable", [True, False], ids=["to train", "to use"])
def test_loaded_ones_do_as_asked(subject: Subject, trainable: bool, tmp_path: Path) -> None:
    subject.adapted().save_pretrained(tmp_path)
    model = subject.loaded(tmp_path, is_trainable=trainable)
    assert trained(model) == (of(subject, "default") if trainable else set())
    model.load_adapter(str(tmp_path), "other", is_trainable=trainable)
    # As with LoRA, what is loaded to be trained takes gradients before it is set active.
    assert trained(model) == (of(subject, "default", "other") if trainable else set())
    model.set_adapter("other")
    assert trained(model) == of(subject, "other")
    model.set_adapter("default", inference_mode=True)
    assert trained(model) == set()


def test_loading_beside_one_in_training_leaves_that_in_training(subject: Subject, tmp_path: Path) -> None:
    subject.adapted().save_pretrained(tmp_path)
    model = subject.adapted()
    model.load_adapter(str(tmp_path), "other")
    assert trained(model) == of(subject, "default")


def test_after_deleting_the_one_that_is_left_does(subject: Subject) -> None:
    model = subject.adapted()
    subject.add(model, "other")
    model.delete_adapter("other")
    assert trained(model) == of(subject, "default")
    subject.add(model, "other")
    with pytest.warns(UserWarning, match="Adapter default was active which is now deleted"):
        model.delete_adapter("default")
    assert trained(model) == of(subject, "other")


def test_it_can_be_set_by_hand(subject: Subject) -> None:
    model = subject.adapted()
    subject.add(model, "other")
    model.set_requires_grad("other")
    assert trained(model) == of(subject, "default", "other")
    model.set_requires_grad(["default", "other"], requires_grad=False)
    assert trained(model) == set()
    model.set_requires_grad("default")
    assert trained(model) == of(subject, "default")


def test_adapters_in_different_places(subject: Subject) -> None:
    subject = subject.varied("nothing beside", {"modules_to_save": None})
    model = subject.adapted()
    subject.add(model, "other", target_modules=["lin1"])
    assert trained(model) == of(subject, "default")
    model.set_adapter("other")
    assert trained(model) == of(subject, "other", module="lin1")
    model.base_model.set_adapter(["default", "other"])
    assert trained(model) == of(subject, "default") | of(subject, "other", module="lin1")


def test_merging_and_unloading_leave_the_base_frozen(subject: Subject) -> None:
    model = subject.adapted()
    model.merge_adapter()
    assert trained(model) == of(subject, "default")
    model.unmerge_adapter()
    assert trained(model) == of(subject, "default")
    plain = model.merge_and_unload()
    assert {name for name, p in plain.named_parameters() if p.requires_grad} <= {"lin1.weight", "lin1.bias"}


def test_what_is_held_fixed_is_a_parameter_that_never_takes_gradients() -> None:
    """Libraries that copy an adapter by the names of its parameters copy all of it. PEFT calls its status irregular."""
    for grid, status in (("learned", True), ("uniform", "irregular")):
        model = get_peft_model(MLP(), LRLoraConfig(**RANK, target_modules=["lin0"], grid=grid))
        model.set_requires_grad("default")
        assert model.get_model_status().requires_grad == {"default": status}
        (layer,) = layers_of(model).values()
        assert layer.lrlora_grid["default"].weight.requires_grad is (grid == "learned")

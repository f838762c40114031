"""Names of adapters that cost others their tensors (peft #3584), and what adding and deleting leaves behind."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from small import BENT, adapted, llama, mlp, rows, run
from torch import nn

from lrlora import LRLoraConfig

SECOND = LRLoraConfig(**BENT, target_modules=["inside", "out"])

CLASHING = ["out", "block", "head", "model", "base_layer", "weight", "bias", "lrlora_A", "lrlora_grid", "inside"]
"""Names of modules, of parameters, of what PEFT adds, and of the parts of an adapted layer."""


def structure(model: nn.Module) -> dict[str, Any]:
    """All that an adapter could leave behind."""
    return {
        "modules": {name: type(module).__name__ for name, module in model.named_modules()},
        "parameters": {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)},
        "state": list(model.state_dict()),
        "hooks": Counter(
            (name, kind)
            for name, module in model.named_modules()
            for kind, held in vars(module).items()
            if "hook" in kind and hasattr(held, "__len__")
            for _ in range(len(held))
        ),
        "entries": {
            f"{name}.{kind}": sorted(map(str, held))
            for name, module in model.named_modules()
            for kind, held in vars(module).items()
            if isinstance(held, dict) and not kind.startswith("_")
        },
        "configs": list(model.peft_config),
    }


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASHING)
def test_a_second_adapter_named_like_a_module_is_refused_and_leaves_the_first(name: str, tmp_path: Path) -> None:
    model = adapted()
    before, expected = structure(model), run(model, rows())
    with pytest.raises(ValueError, match=rf"^adapter name '{name}' is also in the module name '\S+'.*[^\n]$"):
        model.add_adapter(name, SECOND)
    assert structure(model) == before
    model.save_pretrained(tmp_path)
    assert torch.equal(run(PeftModel.from_pretrained(mlp(), tmp_path).eval(), rows()), expected)


@pytest.mark.parametrize("name", ["out", "weight", "lrlora_A", "0"])
def test_an_adapter_that_is_alone_may_be_named_like_a_module(name: str, tmp_path: Path) -> None:
    base, inputs = (llama(), torch.arange(3, 15).view(2, 6)) if name == "0" else (mlp(), rows())
    model = adapted(base, name, target_modules=["q_proj"] if name == "0" else ["inside", "out"])
    expected = run(model, inputs)
    model.save_pretrained(tmp_path)
    fresh = llama() if name == "0" else mlp()
    loaded = PeftModel.from_pretrained(fresh, tmp_path / name, adapter_name="default").eval()
    assert torch.equal(run(loaded, inputs), expected)
    with pytest.raises(ValueError, match=f"choose another name for '{name}'"):
        model.add_adapter("second", LRLoraConfig(**BENT, target_modules=["q_proj" if name == "0" else "out"]))
    assert list(model.peft_config) == [name]


def test_numbers_are_refused_where_layers_are_numbered() -> None:
    model = adapted(llama(), target_modules=["q_proj"])
    with pytest.raises(ValueError, match=r"adapter name '0' is also in the module name 'model\.layers\.0'"):
        model.add_adapter("0", LRLoraConfig(**BENT, target_modules=["q_proj"]))
    adapted().add_adapter("0", SECOND)


@pytest.mark.parametrize(
    ("name", "why"), [("a.b", "has a dot"), ("keys", "is an attribute"), ("training", "is an attribute")]
)
def test_what_cannot_be_a_key_is_refused_before_anything_is_changed(name: str, why: str) -> None:
    base = mlp()
    with pytest.raises(ValueError, match=f"adapter name '{name}' {why}"):
        adapted(base, name)
    assert [type(module).__name__ for module in base.modules()] == [type(module).__name__ for module in mlp().modules()]


def test_a_name_within_a_name_is_no_clash(tmp_path: Path) -> None:
    model = adapted()
    for name in ("outer", "de", "default2", "lora", "layers"):
        if name in model.base_model.prefix:
            with pytest.warns(UserWarning, match="should not be contained in the prefix"):
                model.add_adapter(name, SECOND)
        else:
            model.add_adapter(name, SECOND)
    model.save_pretrained(tmp_path)
    keys = {name: len(load_file(tmp_path / name / "adapter_model.safetensors")) for name in ("outer", "de", "lora")}
    assert set(keys.values()) == {2 * len(load_file(tmp_path / "adapter_model.safetensors")) // 3}


def test_transformers_own_adapters_are_checked_too(tmp_path: Path) -> None:
    model = llama()
    config = LRLoraConfig(**BENT, target_modules=["q_proj"])
    model.add_adapter(config)
    with (
        pytest.warns(UserWarning, match="Already found a `peft_config` attribute"),
        pytest.raises(ValueError, match="adapter name 'layers' is also in the module name"),
    ):
        model.add_adapter(LRLoraConfig(**BENT, target_modules=["q_proj"]), "layers")
    model.save_pretrained(tmp_path)
    assert len(load_file(tmp_path / "adapter_model.safetensors")) == len(get_peft_model_state_dict(model))


def test_a_state_dict_that_lacks_a_tensor_is_not_saved(tmp_path: Path) -> None:
    model = adapted()
    state = {key: value for key, value in model.state_dict().items() if "head.lrlora_B" not in key}
    with pytest.raises(ValueError, match=r"'default' would be saved without .*head\.lrlora_B\.default: it is not in"):
        model.save_pretrained(tmp_path, state_dict=state)
    assert not list(tmp_path.glob("*.safetensors"))
    # Under FSDP all processes but the first have no state, and save none.
    assert get_peft_model_state_dict(model, state_dict={}) == {}


def test_what_is_written_is_all_that_the_adapter_has(tmp_path: Path) -> None:
    model = adapted(grid="learned")
    model.add_adapter("second", SECOND)
    model.save_pretrained(tmp_path)
    for name, folder in (("default", tmp_path), ("second", tmp_path / "second")):
        parts = {key for key, value in model.state_dict().items() if f".{name}" in key and value.numel()}
        assert len(load_file(folder / "adapter_model.safetensors")) == len(parts)


# -- what is left behind -----------------------------------------------------------------------------------------------


def test_no_hook_is_registered_on_a_model_or_for_the_whole_process() -> None:
    model = adapted()
    run(model.train(), rows())
    assert structure(model)["hooks"] == Counter()
    everywhere = {**vars(import_module("torch.optim.optimizer")), **vars(nn.modules.module)}
    held = {name: hooks for name, hooks in everywhere.items() if name.startswith("_global") and "hook" in name}
    assert held
    assert not [
        name
        for name, hooks in held.items()
        if hasattr(hooks, "values") and any("lrlora" in str(getattr(hook, "__module__", "")) for hook in hooks.values())
    ]


@pytest.mark.parametrize("sharing", ["none", "all"])
def test_adding_and_deleting_leaves_nothing(sharing: str) -> None:
    model = adapted()
    x = rows()
    run(model, x)
    before, expected = structure(model), run(model, x)
    for _ in range(5):
        model.add_adapter("second", LRLoraConfig(**BENT, target_modules=["inside", "out"], sharing=sharing))
        model.set_adapter("second")
        model.train()(x).sum().backward()
        model.eval().state_dict()
        model.set_adapter("default")
        model.delete_adapter("second")
        model.zero_grad()
    assert structure(model) == before
    assert torch.equal(run(model, x), expected)


def test_loading_and_unloading_leaves_the_base(tmp_path: Path) -> None:
    base = mlp()
    base.peft_config = {}  # PEFT leaves one
    adapted().save_pretrained(tmp_path)
    before = structure(base)
    del base.peft_config
    for _ in range(3):
        model = PeftModel.from_pretrained(base, tmp_path)
        run(model, rows())
        base = model.unload()
    base.peft_config = {}
    after = structure(base)
    assert {name: value for name, value in after.items() if name != "parameters"} == {
        name: value for name, value in before.items() if name != "parameters"
    }


@pytest.mark.parametrize("engine", ["auto", "direct"])
def test_a_model_that_nobody_holds_is_freed(engine: str) -> None:
    model = adapted(engine=engine)
    model.train()(rows()).sum().backward()
    run(model.eval(), rows())
    model.state_dict()
    held = [weakref.ref(module) for module in model.modules()] + [weakref.ref(p) for p in model.parameters()]
    del model
    gc.collect()
    assert [found for ref in held if (found := ref()) is not None] == []


def test_a_deleted_adapter_is_freed_while_its_model_lives() -> None:
    model = adapted()
    model.add_adapter("second", SECOND)
    model.set_adapter("second")
    model.train()(rows()).sum().backward()
    held = [weakref.ref(p) for name, p in model.named_parameters() if ".second" in name]
    assert held
    model.set_adapter("default")
    model.delete_adapter("second")
    gc.collect()
    assert [ref for ref in held if ref() is not None] == []

"""What is written, and that it computes the same when it is read again: by PEFT, and without a PEFT model."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
import torch
from peft import (
    PeftModel,
    get_base_model_state_dict,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_base_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file
from subjects import Subject, adapter_parameters, differ, layers_of, run, same, state_of

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "README.md"


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class SavingChecks:
    """For every subject."""

    def test_the_folder_holds_the_adapter_and_nothing_of_the_base(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        model.save_pretrained(tmp_path)
        assert files(tmp_path) == {WEIGHTS, CONFIG, CARD}
        config = json.loads((tmp_path / CONFIG).read_text())
        assert config["peft_type"] == "LRLORA"
        assert config["inference_mode"] is True
        assert model.peft_config["default"].inference_mode is False
        card = (tmp_path / CARD).read_text()
        assert card.startswith("---\n")
        assert "library_name: peft" in card.split("---")[1]
        saved = load_file(tmp_path / WEIGHTS)
        assert saved.keys() == get_peft_model_state_dict(model).keys()
        assert all(".lrlora_" in key or key.split(".")[-2] in subject.trained_beside for key in saved)

    def test_what_is_loaded_is_what_was_saved(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        expected = run(model, subject.batch())
        model.save_pretrained(tmp_path)
        loaded = subject.loaded(tmp_path)
        before, after = state_of(model), state_of(loaded)
        assert before.keys() == after.keys()
        for key in before:
            same(after[key], before[key])
        same(run(loaded, subject.batch()), expected)
        differ(expected, run(subject.base(), subject.batch()))

    def test_a_loaded_adapter_is_frozen_unless_it_is_to_be_trained(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        model.save_pretrained(tmp_path)
        assert not any(p.requires_grad for p in subject.loaded(tmp_path).parameters())
        again = subject.loaded(tmp_path, is_trainable=True)
        trained = {name for name, p in again.named_parameters() if p.requires_grad}
        assert trained == {name for name, p in model.named_parameters() if p.requires_grad}

    def test_adapters_are_saved_side_by_side_or_as_selected(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        subject.add(model, "other")
        model.save_pretrained(tmp_path / "both")
        assert files(tmp_path / "both") == {WEIGHTS, CONFIG, CARD, "other"}
        assert {WEIGHTS, CONFIG} <= files(tmp_path / "both" / "other")
        loaded = subject.loaded(tmp_path / "both")
        loaded.load_adapter(str(tmp_path / "both" / "other"), "other")
        before, after = state_of(model), state_of(loaded)
        assert before.keys() == after.keys()
        for key in before:
            same(after[key], before[key])

        model.save_pretrained(tmp_path / "one", selected_adapters=["default"])
        assert files(tmp_path / "one") == {WEIGHTS, CONFIG, CARD}
        assert set(subject.loaded(tmp_path / "one").peft_config) == {"default"}
        with pytest.raises(ValueError, match="invalid `selected_adapters`"):
            model.save_pretrained(tmp_path / "none", selected_adapters=["gone"])

    def test_loading_without_a_first_copy_gives_the_same(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        model.save_pretrained(tmp_path)
        plain = subject.loaded(tmp_path)
        lean = subject.loaded(tmp_path, low_cpu_mem_usage=True)
        plain.load_adapter(str(tmp_path), "other")
        lean.load_adapter(str(tmp_path), "other", low_cpu_mem_usage=True)
        assert {p.device.type for p in lean.parameters()} == {"cpu"}
        plain_state, lean_state = state_of(plain), state_of(lean)
        assert plain_state.keys() == lean_state.keys()
        for key, value in plain_state.items():
            assert lean_state[key].dtype is value.dtype
            same(lean_state[key], value)
        for name in ("default", "other"):
            lean.set_adapter(name)
            same(run(lean.eval(), subject.batch()), run(model, subject.batch()))

    def test_injected_without_a_peft_model_it_is_the_same(self, subject: Subject) -> None:
        model = subject.adapted()
        prefix = "base_model.model."
        state = {key.removeprefix(prefix): value for key, value in get_peft_model_state_dict(model).items()}
        # What is trained beside the adapter is added by PEFT's model for the task, and has to be named without one.
        config = subject.config(modules_to_save=list(subject.trained_beside) or None)
        bare = inject_adapter_in_model(config, subject.base())
        assert not isinstance(bare, PeftModel)
        result = set_peft_model_state_dict(bare, state)
        assert result.unexpected_keys == []
        same(run(bare.eval(), subject.batch()), run(model, subject.batch()))
        assert get_peft_model_state_dict(bare).keys() == state.keys()
        assert len(layers_of(bare)) == len(layers_of(model))

    def test_the_state_of_the_base_is_read_and_written_under_its_own_names(self, subject: Subject) -> None:
        base = state_of(subject.base())
        model = subject.adapted()
        found = get_base_model_state_dict(model)
        assert found.keys() == base.keys()
        for key, value in base.items():
            same(found[key], value)
        with torch.no_grad():
            for parameter in model.get_base_model().parameters():
                parameter.add_(1)
        result = set_base_model_state_dict(model, base, strict=False)
        assert not result.missing_keys
        assert not result.unexpected_keys
        for key, value in get_base_model_state_dict(model).items():
            same(value, base[key])

    def test_a_copy_is_independent(self, subject: Subject) -> None:
        model = subject.adapted()
        expected = run(model, subject.batch())
        twin = copy.deepcopy(model)
        same(run(twin, subject.batch()), expected)
        assert {p.data_ptr() for p in twin.parameters()}.isdisjoint({p.data_ptr() for p in model.parameters()})
        with torch.no_grad():
            for _, parameter in adapter_parameters(twin):
                parameter.mul_(0.5)
        differ(run(twin, subject.batch()), expected)
        same(run(model, subject.batch()), expected)


class SavingDetails:
    """What does not depend on the architecture, for some subjects."""

    def test_it_can_be_saved_loaded_and_published(self, subject: Subject) -> None:
        model = subject.adapted()
        assert all(callable(getattr(model, name)) for name in ("save_pretrained", "from_pretrained", "push_to_hub"))

    def test_a_config_in_hand_takes_the_place_of_the_saved_one(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        model.save_pretrained(tmp_path)
        config = model.peft_config["default"]
        loaded = subject.loaded(tmp_path, config=config, is_trainable=False)
        assert loaded.peft_config["default"] is config
        assert config.inference_mode
        same(run(loaded, subject.batch()), run(model, subject.batch()))

    def test_names_that_contain_each_other_are_told_apart(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        alone = get_peft_model_state_dict(model).keys()
        for name in ("default2", "other_default", "efaul"):
            subject.add(model, name)
        model.save_pretrained(tmp_path, selected_adapters=["default"])
        assert load_file(tmp_path / WEIGHTS).keys() == alone

    def test_several_can_be_loaded_under_names_of_ones_choice(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        model.save_pretrained(tmp_path)
        loaded = subject.loaded(tmp_path, adapter_name="first")
        for name in ("other", "yet-another"):
            result = loaded.load_adapter(str(tmp_path), name)
            assert result.missing_keys == []
            assert result.unexpected_keys == []
        for name in ("first", "other", "yet-another"):
            loaded.set_adapter(name)
            same(run(loaded.eval(), subject.batch()), run(model, subject.batch()))

    def test_an_empty_adapter_is_on_the_meta_device(self, subject: Subject) -> None:
        model = inject_adapter_in_model(subject.config(), subject.base(), low_cpu_mem_usage=True)
        assert "meta" in {p.device.type for p in model.parameters()}
        assert {p.device.type for name, p in model.named_parameters() if "base_layer" in name} == {"cpu"}

    def test_a_device_map_is_taken(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        model.save_pretrained(tmp_path)
        same(run(subject.loaded(tmp_path, device_map={"": "cpu"}), subject.batch()), run(model, subject.batch()))

    def test_a_state_dict_says_where_to_inject(self, subject: Subject) -> None:
        model = subject.adapted()
        state = {key.removeprefix("base_model.model."): v for key, v in get_peft_model_state_dict(model).items()}
        adapted = {key: value for key, value in state.items() if ".lrlora_" in key}
        bare = inject_adapter_in_model(subject.config(), subject.base(), state_dict=adapted)
        assert layers_of(bare).keys() == {name.removeprefix("base_model.model.") for name in layers_of(model)}
        set_peft_model_state_dict(bare, state)
        same(run(bare.eval(), subject.batch()), run(model, subject.batch()))

    def test_it_goes_to_another_process_and_back(self, subject: Subject) -> None:
        model = subject.adapted()
        twin = pickle.loads(pickle.dumps(model))
        same(run(twin, subject.batch()), run(model, subject.batch()))
        assert len(list(adapter_parameters(twin))) == len(list(adapter_parameters(model)))

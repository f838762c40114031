"""What PEFT checks of the configuration of each of its methods."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import fields, replace
from pathlib import Path

import pytest
from peft import PeftConfig, PeftModel, TaskType, get_peft_config, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType
from subjects import RANDOM, VARIANTS

from lrlora import LRLoraConfig, LRLoraModel

CONFIGS = {**VARIANTS, "targets": {"target_modules": ["b", "a"], "rank_pattern": {"a": 1}, "modules_to_save": ["c"]}}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def config(request: pytest.FixtureRequest) -> LRLoraConfig:
    return LRLoraConfig(**request.param)


def test_it_is_in_the_tables_of_peft() -> None:
    assert PEFT_TYPE_TO_CONFIG_MAPPING[PeftType.LRLORA] is LRLoraConfig
    assert PEFT_TYPE_TO_TUNER_MAPPING[PeftType.LRLORA] is LRLoraModel
    assert PEFT_TYPE_TO_PREFIX_MAPPING[PeftType.LRLORA] == LRLoraModel.prefix == "lrlora_"


def test_it_has_what_every_config_has() -> None:
    for name in ("to_dict", "save_pretrained", "from_pretrained", "from_json_file", "from_peft_type", "push_to_hub"):
        assert callable(getattr(LRLoraConfig, name))
    assert {field.name for field in fields(PeftConfig)} <= {field.name for field in fields(LRLoraConfig)}


def test_it_is_no_prompt_and_has_its_own_type(config: LRLoraConfig) -> None:
    assert config.peft_type is PeftType.LRLORA
    assert not config.is_prompt_learning
    assert not config.is_adaption_prompt
    assert config.inference_mode is False
    assert config.peft_version


def test_it_is_saved_and_loaded_in_full(config: LRLoraConfig, tmp_path: Path) -> None:
    config.save_pretrained(str(tmp_path))
    for loaded in (PeftConfig.from_pretrained(str(tmp_path)), LRLoraConfig.from_pretrained(str(tmp_path))):
        assert type(loaded) is LRLoraConfig
        assert loaded == config
        assert loaded.to_dict() == config.to_dict()


def test_what_is_saved_is_plain_json(config: LRLoraConfig, tmp_path: Path) -> None:
    config.save_pretrained(str(tmp_path))
    text = (tmp_path / "adapter_config.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(config.to_dict()))
    assert json.loads(text) == LRLoraConfig.from_json_file(str(tmp_path / "adapter_config.json"))
    config.save_pretrained(str(tmp_path))
    assert (tmp_path / "adapter_config.json").read_text() == text


def test_a_dictionary_makes_it(config: LRLoraConfig) -> None:
    assert LRLoraConfig(**config.to_dict()) == config
    assert LRLoraConfig.from_peft_type(**config.to_dict()) == config
    assert PeftConfig.from_peft_type(**config.to_dict()) == config
    assert get_peft_config(config.to_dict()) == config


def test_copies_are_equal_and_independent(config: LRLoraConfig) -> None:
    for twin in (copy.copy(config), copy.deepcopy(config), replace(config), pickle.loads(pickle.dumps(config))):
        assert twin == config
        assert twin is not config
        assert twin.to_dict() == config.to_dict()
    changed = replace(config, r=20)
    assert changed.r == 20
    assert config.r != 20
    twin = copy.deepcopy(config)
    twin.rank_pattern["z"] = 1
    assert "z" not in config.rank_pattern


def test_what_is_set_afterwards_is_saved(config: LRLoraConfig, tmp_path: Path) -> None:
    config.r = 3
    config.base_model_name_or_path = "somewhere"
    config.revision = "abc"
    config.save_pretrained(str(tmp_path))
    loaded = LRLoraConfig.from_pretrained(str(tmp_path))
    assert (loaded.r, loaded.base_model_name_or_path, loaded.revision) == (3, "somewhere", "abc")
    assert loaded.to_dict() == config.to_dict()


def test_a_type_that_is_handed_in_is_no_harm(tmp_path: Path) -> None:
    config = LRLoraConfig(peft_type="test")
    config.save_pretrained(str(tmp_path))
    assert LRLoraConfig.from_pretrained(str(tmp_path)).to_dict() == config.to_dict()


@pytest.mark.parametrize("task", [None, *TaskType])
def test_every_task_is_taken(task: TaskType | None, tmp_path: Path) -> None:
    config = LRLoraConfig(task_type=task)
    config.save_pretrained(str(tmp_path))
    assert LRLoraConfig.from_pretrained(str(tmp_path)).task_type == task


def test_no_other_task_is() -> None:
    with pytest.raises(ValueError, match=r"Invalid task type: 'invalid'\. Must be one of the following task types: "):
        LRLoraConfig(task_type="invalid")


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises((TypeError, ValueError), match="rnak"):
        LRLoraConfig(rnak=3)


def test_a_saved_field_that_is_unknown_is_left_out_with_a_warning(tmp_path: Path) -> None:
    """PEFT's ``test_from_pretrained_forward_compatible``."""
    config = LRLoraConfig(r=3)
    config.save_pretrained(str(tmp_path))
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "foobar": "baz", "spam": 123}))
    for config_class in (LRLoraConfig, PeftConfig):
        with pytest.warns(UserWarning, match=r"^Unexpected keyword arguments \['foobar', 'spam'\]") as warned:
            loaded = config_class.from_pretrained(str(tmp_path))
        assert len(warned) == 1
        assert loaded.to_dict() == config.to_dict()


def test_a_field_that_a_newer_version_saved_is_refused(tmp_path: Path) -> None:
    LRLoraConfig().save_pretrained(str(tmp_path))
    path = tmp_path / "adapter_config.json"
    newer = {**json.loads(path.read_text()), "lrlora_version": "99.0"}
    path.write_text(json.dumps(newer))
    assert LRLoraConfig.from_pretrained(str(tmp_path)) == LRLoraConfig()
    path.write_text(json.dumps({**newer, "foobar": "baz"}))
    for config_class in (LRLoraConfig, PeftConfig):
        with pytest.raises(ValueError, match=r"^this adapter was saved by lrlora 99\.0 with a field 'foobar' that .*$"):
            config_class.from_pretrained(str(tmp_path))


def test_a_file_that_is_no_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"foo": 123, "bar": 456}))
    with pytest.raises(TypeError, match=r"missing required keys: .'peft_type'"):
        LRLoraConfig.from_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=r"Can't find 'adapter_config\.json'"):
        LRLoraConfig.from_pretrained(str(tmp_path / "gone"))


def test_settings_of_a_run_are_not_loaded(tmp_path: Path) -> None:
    LRLoraConfig().save_pretrained(str(tmp_path))
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "runtime_config": {"ephemeral_gpu_offload": True}}))
    with pytest.warns(UserWarning, match="contains a `runtime_config` key. This is ignored"):
        assert LRLoraConfig.from_pretrained(str(tmp_path)).to_dict() == LRLoraConfig().to_dict()


def test_a_subfolder_is_found(tmp_path: Path) -> None:
    LRLoraConfig(r=5).save_pretrained(str(tmp_path / "inner"))
    assert PeftConfig.from_pretrained(str(tmp_path), subfolder="inner").r == 5


def test_a_file_cannot_be_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AssertionError, match="should be a directory, not a file"):
        LRLoraConfig().save_pretrained(str(tmp_path / "file"))


def test_layers_need_a_list_of_targets_and_a_pattern_needs_layers() -> None:
    with pytest.raises(ValueError, match="layers_pattern says where layers_to_transform counts"):
        LRLoraConfig(target_modules=["q"], layers_pattern="layers")
    for name, value in (("layers_to_transform", [0]), ("layers_pattern", "layers")):
        with pytest.raises(ValueError, match=f"{name} works with a list of target_modules"):
            LRLoraConfig(target_modules="q.*", **{name: value})


def test_lists_of_modules_become_sets_as_in_lora() -> None:
    config = LRLoraConfig(target_modules=["b", "a", "b"], exclude_modules=["c"])
    assert config.target_modules == {"a", "b"}
    assert config.exclude_modules == {"c"}
    assert config.to_dict()["target_modules"] == ["a", "b"]


def test_the_revision_of_the_base_is_kept() -> None:
    from custom_modules import MLP

    config = LRLoraConfig(**RANDOM, target_modules=["lin0"])
    model = get_peft_model(MLP(), config, revision="abc")
    assert isinstance(model, PeftModel)
    assert model.peft_config["default"].revision == "abc"
    with pytest.warns(UserWarning, match="already set base model revision to abc, overwriting with revision def"):
        get_peft_model(MLP(), config, revision="def")

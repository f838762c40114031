"""What is saved is small and loads anywhere; what does not fit is refused, with the model left as it was."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from peft import (
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lrlora import LRLoraConfig
from lrlora.tuner import files
from lrlora.tuner.layer import LRLoraLayer

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


def base(width: int = 6, layers: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(layers)])


def adapted(layers: int = 3, **fields: Any) -> PeftModel:
    names = [str(i) for i in range(layers)]
    fields = {"r": 2, "num_grid_points": 5, "init_weights": False, "target_modules": names, **fields}
    return get_peft_model(base(layers=layers), LRLoraConfig(**fields)).eval()


def output(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(X)


def snapshot(model: nn.Module) -> dict[str, Any]:
    return {
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "trained": [(name, p.requires_grad) for name, p in model.named_parameters()],
        "values": {name: value.clone() for name, value in model.state_dict().items()},
    }


def assert_untouched(model: nn.Module, before: dict[str, Any]) -> None:
    after = snapshot(model)
    assert after["modules"] == before["modules"]
    assert after["trained"] == before["trained"]
    assert all(torch.equal(value, before["values"][name]) for name, value in after["values"].items())


def theta_modules(model: nn.Module) -> set[int]:
    return {id(m.lrlora_amplitude["default"]) for m in model.modules() if isinstance(m, LRLoraLayer)}


# -- θ that layers share ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lean", [False, True])
def test_a_shared_theta_is_saved_once_and_shared_after_loading(lean: bool, tmp_path: Path) -> None:
    model = adapted(sharing="all", grid="learned")
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / WEIGHTS)
    assert len([key for key in saved if "lrlora_amplitude" in key]) == 1
    assert len([key for key in saved if "lrlora_A" in key]) == 3
    loaded = PeftModel.from_pretrained(base(), tmp_path, low_cpu_mem_usage=lean, is_trainable=True).eval()
    assert torch.equal(output(loaded), output(model))
    assert len(theta_modules(loaded)) == 1
    loaded.train()(X).square().sum().backward()
    assert len([p for name, p in loaded.named_parameters() if "amplitude" in name and p.grad is not None]) == 1


def test_theta_shared_in_groups_is_saved_once_a_group(tmp_path: Path) -> None:
    model = adapted(sharing="parts:amplitude", sharing_scope="layer")
    model.save_pretrained(tmp_path)
    assert torch.equal(output(PeftModel.from_pretrained(base(), tmp_path).eval()), output(model))


def test_a_file_with_every_copy_loads_too(tmp_path: Path) -> None:
    model = adapted(sharing="all")
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    for key, value in list(state.items()):
        for other in ("1", "2"):
            state.setdefault(key.replace(".0.", f".{other}."), value.clone())
    save_file(state, tmp_path / WEIGHTS)
    assert torch.equal(output(PeftModel.from_pretrained(base(), tmp_path).eval()), output(model))


def test_states_go_from_model_to_model_without_files() -> None:
    one, other = adapted(sharing="all"), adapted(sharing="all")
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
    set_peft_model_state_dict(other, get_peft_model_state_dict(one))
    assert torch.equal(output(one), output(other))


def test_only_the_adapter_that_is_asked_for_is_saved(tmp_path: Path) -> None:
    model = adapted(sharing="all")
    model.add_adapter("second", LRLoraConfig(r=1, target_modules=["1"], num_grid_points=5, init_weights=False))
    model.save_pretrained(tmp_path, selected_adapters=["second"])
    saved = load_file(tmp_path / "second" / WEIGHTS)
    assert {key.split(".")[2] for key in saved} == {"1"}
    model.set_adapter("second")
    assert torch.equal(output(PeftModel.from_pretrained(base(), tmp_path / "second").eval()), output(model))


# -- rank 0 -----------------------------------------------------------------------------------------------------


def test_a_layer_of_rank_zero_is_left_as_it_is_and_survives_saving(tmp_path: Path) -> None:
    model = adapted(rank_pattern={"1": 0})
    layer = model.base_model.model[1]
    assert layer.lrlora_A["default"].weight.shape == (0, 6)
    assert layer.get_delta_weight("default").count_nonzero() == 0
    assert torch.equal(layer(X), layer.base_layer(X))
    model.train()(X).square().sum().backward()
    model.eval().save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(base(), tmp_path).eval()
    assert torch.equal(output(loaded), output(model))
    merged = loaded.merge_and_unload()
    torch.testing.assert_close(output(merged), output(model))
    assert torch.equal(merged[1].weight, base()[1].weight)


# -- the model card ---------------------------------------------------------------------------------------------


def test_the_card_says_what_to_import_and_says_it_once(tmp_path: Path) -> None:
    model = adapted()
    for _ in range(2):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text().count("import lrlora") == 1


def test_the_card_of_several_adapters_says_it_too(tmp_path: Path) -> None:
    model = adapted()
    model.add_adapter("second", LRLoraConfig(r=1, target_modules=["1"]))
    model.save_pretrained(tmp_path, selected_adapters=["second"])
    assert "import lrlora" in (tmp_path / "README.md").read_text()


def test_a_readme_that_is_no_card_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("my project\n")
    LRLoraConfig().save_pretrained(tmp_path / "adapter")
    assert (tmp_path / "README.md").read_text() == "my project\n"


# -- what is refused --------------------------------------------------------------------------------------------


def edit(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **fields}))


def cut(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: edit(folder, curvature=3, lrlora_version="99.0"), r"lrlora 99\.0 with a field 'curvature'"),
        (lambda folder: edit(folder, basis="cosine"), "unknown basis 'cosine'"),
        (cut, "damaged or cut short"),
        (pickled, "is a pickle"),
    ],
    ids=["newer version", "unknown basis", "cut", "pickle"],
)
@pytest.mark.parametrize("second", [False, True])
def test_what_cannot_be_loaded_leaves_the_model_alone(damage: Any, message: str, second: bool, tmp_path: Path) -> None:
    adapted().save_pretrained(tmp_path)
    damage(tmp_path)
    model = adapted() if second else base()
    before = snapshot(model)
    load = partial(model.load_adapter, adapter_name="second") if second else partial(PeftModel.from_pretrained, model)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
    assert_untouched(model, before)


@pytest.mark.parametrize("other", [{"width": 8}, {"layers": 2}], ids=["wider", "shallower"])
def test_an_adapter_for_another_base_leaves_this_one_alone(other: dict[str, int], tmp_path: Path) -> None:
    adapted().save_pretrained(tmp_path)
    model = base(**other)
    model[0].bias.requires_grad_(False)
    before = snapshot(model)
    with pytest.raises(ValueError, match="saved for another base model"):
        PeftModel.from_pretrained(model, tmp_path)
    assert_untouched(model, before)


def test_a_second_adapter_for_another_base_leaves_the_first_alone(tmp_path: Path) -> None:
    adapted(layers=4).save_pretrained(tmp_path)
    edit(tmp_path, target_modules=["1"])
    model = adapted()
    before, expected = snapshot(model), output(model)
    with pytest.raises(ValueError, match="saved for another base model"):
        model.load_adapter(tmp_path, "second")
    assert_untouched(model, before)
    assert list(model.peft_config) == ["default"]
    assert torch.equal(output(model), expected)


def test_a_field_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'num_grid_points'"):
        LRLoraConfig(num_gridpoints=3)  # type: ignore[call-arg]


# -- from the Hub, as far as can be seen without it ---------------------------------------------------------------


def test_a_repository_with_a_pickle_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any, **__: Any) -> str:
        raise EntryNotFoundError.__new__(EntryNotFoundError)

    monkeypatch.setattr(files, "hf_hub_download", absent)
    monkeypatch.setattr(files, "file_exists", lambda *_, **__: True)
    with pytest.raises(ValueError, match=r"someone/adapter/adapter_model\.bin is a pickle"):
        files.check_files("someone/adapter")
    monkeypatch.setattr(files, "file_exists", lambda *_, **__: False)
    files.check_files("someone/adapter")


def test_without_the_hub_peft_has_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(files, "hf_hub_download", unreachable)
    files.check_files("someone/adapter")


def test_a_repository_is_checked_like_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    adapted().save_pretrained(tmp_path)
    cut(tmp_path)
    monkeypatch.setattr(files, "hf_hub_download", lambda *_, **__: str(tmp_path / WEIGHTS))
    with pytest.raises(ValueError, match="cut short"):
        files.check_files("someone/adapter")

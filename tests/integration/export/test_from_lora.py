"""A LoRA adapter is converted to LR-LoRA, and a saved adapter is loaded on its base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from export_models import BENT, Inputs, Make, close, train_factors
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForSequenceClassification

from lrlora import LRLoraConfig, parameter_groups
from lrlora.export import ExportError, from_lora, load_adapted, save_from_lora
from lrlora.export.to_lora import adapted_layers


class TestFromLora:
    """The converted adapter computes what LoRA computes, and φ can be trained."""

    FIELDS: tuple[dict[str, Any], ...] = (
        {},
        {"use_rslora": True},
        {"rank_pattern": {"query": 5}, "alpha_pattern": {"key": 3}},
        {"rank_pattern": {"query": 5}, "alpha_pattern": {"key": 3}, "use_rslora": True},
        {"modules_to_save": ["pooler"], "layers_to_transform": [0, 2]},
    )

    @pytest.mark.parametrize(
        "fields", FIELDS, ids=["plain", "rslora", "patterns", "rslora patterns", "modules to save"]
    )
    def test_it_computes_the_same_and_theta_trains(
        self, fields: dict[str, Any], make_model: Make, inputs_of: Inputs, tmp_path: Path
    ) -> None:
        inputs = inputs_of("bert")
        config = LoraConfig(r=2, lora_alpha=5, target_modules=["query", "key"], task_type="SEQ_CLS", **fields)
        lora = train_factors(get_peft_model(make_model("bert"), config)).eval()
        with torch.no_grad():
            lora.base_model.model.classifier.modules_to_save["default"].weight.normal_()
        lora.save_pretrained(tmp_path / "lora")
        save_from_lora(tmp_path / "lora", tmp_path / "out", basis="gaussian", num_grid_points=6)
        model = PeftModel.from_pretrained(make_model("bert"), tmp_path / "out", is_trainable=True).eval()
        close(model, lora, inputs)

        optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-3))
        model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
        amplitudes = [layer.lrlora_amplitude["default"].weight for layer in adapted_layers(model, "default").values()]
        assert len(amplitudes) == (4 if "layers_to_transform" in fields else 6)
        assert all(a.grad is not None and a.grad.abs().max() > 0 for a in amplitudes)
        optimizer.step()
        assert all(a.abs().max() > 0 for a in amplitudes)

    @pytest.mark.parametrize(("sharing", "parts"), [("all", 1), ("amplitude", 1), ("none", 3)])
    def test_theta_may_be_shared(
        self, sharing: str, parts: int, make_model: Make, inputs_of: Inputs, tmp_path: Path
    ) -> None:
        lora = train_factors(get_peft_model(make_model("gpt2"), LoraConfig(r=2, fan_in_fan_out=True))).eval()
        save_from_lora(lora, tmp_path, sharing=sharing, num_grid_points=6, bandwidth_init="by_depth:0.5,2")
        model = PeftModel.from_pretrained(make_model("gpt2"), tmp_path).eval()
        close(model, lora, inputs_of("gpt2"))
        layers = adapted_layers(model, "default").values()
        assert len({id(layer.lrlora_amplitude["default"]) for layer in layers}) == parts

    @pytest.mark.parametrize(
        ("lora", "fields", "says"),
        [
            ({"use_dora": True}, {}, "is DoRA, which also rescales the base weight"),
            ({"init_lora_weights": "pissa"}, {}, "changes the base weight"),
            ({"lora_bias": True}, {}, "has lora_bias=True; only plain LoRA"),
            ({"bias": "all"}, {}, "has bias='all'; only plain LoRA"),
            ({}, {"bsis": "sinc"}, r"did you mean 'basis'\?"),
            ({}, {"r": 4}, "r follows from the LoRA adapter"),
            ({}, {"placement": "attention"}, "placement follows from the LoRA adapter"),
            ({}, {"learn_amplitude": False}, "would stay LoRA"),
            ({}, {"basis": "snc"}, "did you mean 'sinc'"),
            ({}, {"num_grid_points": 0}, "num_grid_points"),
            ({}, {"adapter_name": "gone"}, "there is no adapter 'gone'"),
        ],
    )
    def test_what_cannot_be_converted(self, lora: dict[str, Any], fields: dict[str, Any], says: str) -> None:
        model = get_peft_model(nn.Sequential(nn.Linear(4, 4)), LoraConfig(r=2, target_modules=["0"], **lora))
        with pytest.raises(ExportError, match=says):
            from_lora(model, **fields)

    def test_files_that_cannot_be(self, tmp_path: Path) -> None:
        lora = get_peft_model(nn.Sequential(nn.Linear(4, 4)), LoraConfig(r=2, target_modules=["0"]))
        folder = tmp_path / "lora"
        lora.save_pretrained(folder)
        with pytest.raises(ExportError, match=r"no such folder; did you mean .*lora"):
            from_lora(tmp_path / "lorra")
        with pytest.raises(ExportError, match="would replace"):
            save_from_lora(folder, folder, force=True)

        state = load_file(folder / "adapter_model.safetensors")
        key = "base_model.model.0.lora_A.weight"
        save_file({**state, key: torch.zeros(3, 4)}, folder / "adapter_model.safetensors")
        with pytest.raises(ExportError, match="0: B and A form no product"):
            from_lora(folder)
        save_file({key: state[key]}, folder / "adapter_model.safetensors")
        with pytest.raises(ExportError, match=r"0 has lora_A\.weight, expected the two factors"):
            from_lora(folder)
        (folder / "adapter_model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
        with pytest.raises(ExportError, match="damaged or cut short"):
            from_lora(folder)
        (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
        with pytest.raises(ExportError, match="is a pickle, which is never loaded"):
            from_lora(folder)
        (folder / "adapter_config.json").write_text("{")
        with pytest.raises(ExportError, match="is no configuration of an adapter"):
            from_lora(folder)


class TestLoading:
    """The base model of a saved adapter."""

    def test_the_base_model_is_the_one_it_was_adapted_as(
        self, make_model: Make, inputs_of: Inputs, tmp_path: Path
    ) -> None:
        for family in ("llama", "bert"):  # a language model, and a classifier without a task type
            make_model(family).save_pretrained(tmp_path / family)
            base = type(make_model(family)).from_pretrained(tmp_path / family)
            model = get_peft_model(base, LRLoraConfig(**BENT)).eval()
            model.save_pretrained(tmp_path / f"{family}-adapter")
            loaded = load_adapted(tmp_path / f"{family}-adapter")
            close(loaded, model, inputs_of(family))

    def test_the_number_of_labels_is_that_of_the_saved_head(
        self, make_model: Make, inputs_of: Inputs, tmp_path: Path
    ) -> None:
        make_model("bert").bert.save_pretrained(tmp_path / "base")
        base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=5)
        model = get_peft_model(base, LRLoraConfig(**BENT, task_type="SEQ_CLS")).eval()
        model.save_pretrained(tmp_path / "adapter")
        loaded = load_adapted(tmp_path / "adapter")
        close(loaded, model, inputs_of("bert"))

    def test_weights_that_are_in_neither_file_are_named(self, make_model: Make, tmp_path: Path) -> None:
        make_model("bert").bert.save_pretrained(tmp_path / "base")
        base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
        get_peft_model(base, LRLoraConfig(**BENT)).save_pretrained(tmp_path / "adapter")
        with pytest.warns(UserWarning, match="weights for classifier.bias, classifier.weight: they are random"):
            load_adapted(tmp_path / "adapter")

    def test_a_base_model_that_moved_or_does_not_fit(self, make_model: Make, tmp_path: Path) -> None:
        make_model("bert").save_pretrained(tmp_path / "base")
        base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
        get_peft_model(base, LRLoraConfig(**BENT)).save_pretrained(tmp_path / "adapter")
        make_model("llama").save_pretrained(tmp_path / "other")
        with pytest.raises(ExportError, match="does not fit on the base model"):
            load_adapted(tmp_path / "adapter", base=tmp_path / "other")
        (tmp_path / "base").rename(tmp_path / "moved")
        with pytest.raises(ExportError, match=r"no such folder.*name its place with --base"):
            load_adapted(tmp_path / "adapter")
        load_adapted(tmp_path / "adapter", base=tmp_path / "moved")

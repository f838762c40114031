"""An adapter exported as LoRA computes what the original does, up to what was truncated, without this package."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from export_models import BENT, Inputs, Make, close, logits, train_factors, without_lrlora
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora.conversion import convert_to_lora
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification

from lrlora import LRLoraConfig
from lrlora.export import ExportError, LoraExport, save_as_lora, to_lora
from lrlora.export.to_lora import adapted_layers


def product(state: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    key = f"base_model.model.{name}.lora_"
    return state[f"{key}B.weight"] @ state[f"{key}A.weight"]


def loaded(base: nn.Module, export: LoraExport) -> nn.Module:
    model = get_peft_model(base, export.config).eval()
    set_peft_model_state_dict(model, export.state_dict)
    return model


@pytest.mark.parametrize("family", ["bert", "gpt2", "phi3", "vit"])  # gpt2 has Conv1D, phi3 fused projections
def test_at_full_rank_a_model_computes_the_same(
    family: str, make_model: Make, inputs_of: Inputs, tmp_path: Path
) -> None:
    model = get_peft_model(make_model(family), LRLoraConfig(**BENT)).eval()
    export = save_as_lora(model, tmp_path / "out", error=1e-5)
    assert max(row.error for row in export.rows) <= 2e-5
    close(PeftModel.from_pretrained(make_model(family), tmp_path / "out").eval(), model, inputs_of(family), 1e-3)


def test_a_process_without_lrlora_serves_it(make_model: Make, inputs_of: Inputs, tmp_path: Path) -> None:
    inputs = inputs_of("bert")
    make_model("bert").save_pretrained(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base").eval()
    model = get_peft_model(base, LRLoraConfig(**BENT, task_type="SEQ_CLS")).eval()
    with torch.no_grad():
        model.base_model.model.classifier.modules_to_save["default"].weight.normal_()
    export = save_as_lora(model, tmp_path / "out", rank=3)

    truncated = copy.deepcopy(model).merge_and_unload()  # W + B'A' in place of W + ΔW
    for name, layer in adapted_layers(model, "default").items():
        weight = layer.get_base_layer().weight.data + product(export.state_dict, name)
        truncated.get_submodule(name).weight.data = weight
    expected = logits(truncated, inputs)
    assert not torch.allclose(expected, logits(model, inputs), atol=1e-4), "rank 3 keeps everything"

    code = f"""
import torch
from peft import AutoPeftModelForSequenceClassification
model = AutoPeftModelForSequenceClassification.from_pretrained({str(tmp_path / "out")!r})
with torch.no_grad():
    logits = model.eval()(input_ids=torch.tensor({inputs["input_ids"].tolist()})).logits
print(logits.flatten().tolist())
"""
    found = torch.tensor(json.loads(without_lrlora(code))).view_as(expected)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_it_agrees_with_pefts_own_conversion(family: str, make_model: Make) -> None:
    # gpt2 for Conv1D, whose weight is stored transposed.
    model = get_peft_model(make_model(family), LRLoraConfig(**BENT))
    config, state = convert_to_lora(model, rank=3)
    export = to_lora(model, rank=3)
    assert state.keys() == export.state_dict.keys()
    assert (config.r, config.lora_alpha) == (export.config.r, export.config.lora_alpha)
    for name in adapted_layers(model, "default"):
        torch.testing.assert_close(product(export.state_dict, name), product(state, name), rtol=1e-4, atol=1e-5)


def test_a_head_of_several_layers_survives(make_model: Make, inputs_of: Inputs, tmp_path: Path) -> None:
    # RoBERTa's classifier has two layers, whose weights PEFT's own conversion writes under one name.
    model = get_peft_model(make_model("roberta"), LRLoraConfig(**BENT, task_type="SEQ_CLS")).eval()
    for part in ("dense", "out_proj"):
        nn.init.normal_(model.base_model.model.classifier.modules_to_save["default"].get_submodule(part).weight)
    save_as_lora(model, tmp_path / "out", error=1e-5)
    close(PeftModel.from_pretrained(make_model("roberta"), tmp_path / "out").eval(), model, inputs_of("roberta"), 1e-3)


def test_ranks_by_error_are_a_pattern_a_cap_or_one_rank(make_model: Make) -> None:
    model = get_peft_model(make_model("llama"), LRLoraConfig(**BENT))
    free = to_lora(model, error=0.3)
    assert all(row.error <= 0.3 + 1e-6 for row in free.rows)
    ranks = {row.module: row.rank for row in free.rows}
    assert len(set(ranks.values())) > 1, "the ranks are all the same, and no pattern is tested"
    layers = get_peft_model(make_model("llama"), free.config).base_model.model
    for name, rank in ranks.items():
        layer = layers.get_submodule(name)
        assert (layer.r["default"], layer.scaling["default"]) == (rank, 1.0)

    capped = to_lora(model, error=0.1, max_rank=4).rows
    assert max(row.rank for row in capped) == 4
    assert max(row.error for row in capped) > 0.1, "and the table says that the error was missed"

    equal = to_lora(model, error=0.3, equal_ranks=True)
    assert equal.config.r == equal.config.lora_alpha == max(ranks.values())
    assert not equal.config.rank_pattern
    assert not equal.config.alpha_pattern
    for name in ranks:
        assert len(equal.state_dict[f"base_model.model.{name}.lora_A.weight"]) == equal.config.r
        torch.testing.assert_close(product(equal.state_dict, name), product(free.state_dict, name))


@pytest.mark.parametrize("equal_ranks", [False, True])
def test_a_linear_phi_is_exact(equal_ranks: bool, make_model: Make, inputs_of: Inputs) -> None:
    fields = {"r": 3, "lora_alpha": 7.5, "rank_pattern": {"c_fc": 2}, "alpha_pattern": {"c_attn": 4}}
    model = train_factors(get_peft_model(make_model("gpt2"), LRLoraConfig(**fields))).eval()
    export = to_lora(model, equal_ranks=equal_ranks)
    assert all(row.exact and row.error == 0 for row in export.rows)
    assert (export.config.rank_pattern == {}) == equal_ranks
    close(loaded(make_model("gpt2"), export), model, inputs_of("gpt2"))
    # A rank below the adapter's is a truncation all the same.
    assert max(row.error for row in to_lora(model, rank=1).rows) > 0.1


def test_the_tables_are_written_beside_the_adapter(make_model: Make, tmp_path: Path) -> None:
    model = get_peft_model(make_model("bert"), LRLoraConfig(**BENT))
    seen: list[tuple[str, int, int]] = []
    export = save_as_lora(
        model, tmp_path / "out", rank=2, on_layer=lambda row, done, total: seen.append((row.module, done, total))
    )
    found = json.loads((tmp_path / "out" / "truncation.json").read_text())
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    for row, (name, layer) in zip(found["layers"], adapted_layers(model, "default").items(), strict=True):
        delta = layer.delta_matrix("default").detach().double()
        key = f"base_model.model.{name}.lora_"
        rest = delta - stored[f"{key}B.weight"].double() @ stored[f"{key}A.weight"].double()
        assert row["module"] == name
        assert row["error"] == pytest.approx(float(rest.norm() / delta.norm()), rel=1e-6)
    assert "encoder.layer.0" in (tmp_path / "out" / "truncation.md").read_text()
    assert seen == [(row.module, index + 1, 18) for index, row in enumerate(export.rows)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rank": 0}, "rank must be an integer >= 1, got 0"),
        ({"error": 0.0}, "error must be relative"),
        ({"error": 1.0}, "error must be relative"),
        ({"rank": 2, "error": 0.1}, "not both"),
        ({"rank": 2, "max_rank": 4}, "max_rank caps the ranks that error asks for"),
        ({"error": 0.1, "randomized": True}, "randomized needs a rank"),
        ({"rank": 2, "adapter_name": "gone"}, "there is no adapter 'gone'"),
        ({"rank": 2, "adapter_name": "lora"}, "is LORA, expected LRLoraConfig"),
        ({}, "φ bends in 1 of 1 layers"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], says: str) -> None:
    model = get_peft_model(nn.Sequential(nn.Linear(3, 3)), LRLoraConfig(**BENT, target_modules=["0"]))
    model.peft_config["lora"] = LoraConfig(target_modules=["0"])
    with pytest.raises(ExportError, match=says):
        to_lora(model, **options)

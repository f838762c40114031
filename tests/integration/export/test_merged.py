"""A merged model computes what the adapted one does, in processes that cannot import this package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from export_models import BENT, Inputs, Make, logits, without_lrlora
from peft import get_peft_model
from torch import nn
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM
from transformers.quantizers.quantizer_gguf import GgufHfQuantizer
from transformers.utils.quantization_config import GgufConfig

from lrlora import LRLoraConfig
from lrlora.export import ExportError, save_as_lora, save_merged


def test_transformers_loads_it_without_lrlora_and_peft(make_model: Make, inputs_of: Inputs, tmp_path: Path) -> None:
    inputs = inputs_of("bert")
    model = get_peft_model(make_model("bert"), LRLoraConfig(**BENT, task_type="SEQ_CLS")).eval()
    with torch.no_grad():
        model.base_model.model.classifier.modules_to_save["default"].weight.normal_()
    expected = logits(model, inputs)
    save_merged(model, tmp_path / "out")
    torch.testing.assert_close(logits(model, inputs), expected, rtol=0, atol=0)  # the model was left as it was

    code = f"""
import torch
sys.modules['peft'] = None
from transformers import AutoModelForSequenceClassification
model, info = AutoModelForSequenceClassification.from_pretrained({str(tmp_path / "out")!r}, output_loading_info=True)
assert not any(info.values()), info
with torch.no_grad():
    logits = model.eval()(input_ids=torch.tensor({inputs["input_ids"].tolist()})).logits
print(logits.flatten().tolist())
"""
    found = torch.tensor(json.loads(without_lrlora(code))).view_as(expected)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "phi3", "roberta"])
def test_a_model_merges(family: str, make_model: Make, inputs_of: Inputs, tmp_path: Path) -> None:
    inputs = inputs_of(family)
    model = get_peft_model(make_model(family), LRLoraConfig(**BENT)).eval()
    expected = logits(model, inputs)
    save_merged(model, tmp_path / "out", keep_model=False)
    loaded = type(make_model(family)).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(logits(loaded, inputs), expected, rtol=1e-4, atol=1e-5)
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix in (".bin", ".pt", ".pkl")]


def test_the_tokenizer_is_copied_and_pickles_are_not(make_model: Make, tmp_path: Path) -> None:
    make_model("bert").save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "vocab.txt").write_text("[PAD]\n")
    (tmp_path / "base" / "training_args.bin").write_text("a pickle")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    copied = save_merged(get_peft_model(base, LRLoraConfig(**BENT)), tmp_path / "out")
    assert copied == ["vocab.txt"]
    assert not (tmp_path / "out" / "training_args.bin").exists()


def test_of_several_adapters_one_is_merged(make_model: Make, inputs_of: Inputs, tmp_path: Path) -> None:
    inputs = inputs_of("llama")
    model = get_peft_model(make_model("llama"), LRLoraConfig(**BENT)).eval()
    model.add_adapter("second", LRLoraConfig(**{**BENT, "r": 3}))
    model.set_adapter("second")
    expected = logits(model, inputs)
    model.set_adapter("default")
    save_merged(model, tmp_path / "out", adapter_name="second")
    loaded = LlamaForCausalLM.from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(logits(loaded, inputs), expected, rtol=1e-4, atol=1e-5)
    assert model.active_adapter == "default"


def test_a_tied_weight_is_not_merged_silently(tmp_path: Path) -> None:
    # The head shares its weight with the embedding; merging would put the head's update into the embedding.
    config = LlamaConfig(
        vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        tie_word_embeddings=True,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="tie"):
        model = get_peft_model(LlamaForCausalLM(config), LRLoraConfig(**BENT, target_modules=["lm_head"]))
    with pytest.raises(ExportError, match=r"lm_head is also .*embed_tokens"):
        save_merged(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_from_a_gguf_file_is_saved_as_the_plain_one_it_is(make_model: Make, tmp_path: Path) -> None:
    # transformers leaves the mark of the format on a model that it dequantised, and then would not save it.
    base = make_model("llama")
    base.hf_quantizer = GgufHfQuantizer(GgufConfig())
    save_merged(get_peft_model(base, LRLoraConfig(**BENT)), tmp_path / "out")
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())


def test_what_cannot_be_merged_is_refused_and_writes_nothing(make_model: Make, tmp_path: Path) -> None:
    plain = get_peft_model(nn.Sequential(nn.Linear(3, 3)), LRLoraConfig(**BENT, target_modules=["0"]))
    with pytest.raises(ExportError, match="is a Sequential and no model of transformers"):
        save_merged(plain, tmp_path / "out")
    model = get_peft_model(make_model("bert"), LRLoraConfig(**BENT))
    with torch.no_grad():
        next(weight for name, weight in model.named_parameters() if "lrlora_B" in name)[0, 0] = float("nan")
    with pytest.raises(ExportError, match="not finite"):
        save_merged(model, tmp_path / "out")
    with pytest.raises(ExportError, match="not finite"):
        save_as_lora(model, tmp_path / "out", rank=2)
    assert not (tmp_path / "out").exists()

"""Tiny models of each family: random weights, since what is tested is structure. Real models are in tests/e2e."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

# With --import-mode=importlib a test's neighbours are no modules by themselves.
sys.path.insert(0, str(Path(__file__).parent))

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
TEXT = {**SMALL, "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**TEXT)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**TEXT, num_key_value_heads=2)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**TEXT, num_key_value_heads=2)),
    "phi": lambda: hf.PhiForCausalLM(hf.PhiConfig(**TEXT)),
    "phi3": lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**TEXT)),
    "gpt2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(n_embd=16, n_layer=3, n_head=2, vocab_size=64, bos_token_id=1, eos_token_id=2)
    ),
    "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**TEXT)),
    "roberta": lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**TEXT)),
    "vit": lambda: hf.ViTForImageClassification(hf.ViTConfig(**SMALL, image_size=8, patch_size=4)),
}
HALF_LAYERS = {"llama": 7, "qwen2": 7, "mistral": 7, "phi": 6, "phi3": 4, "gpt2": 4, "bert": 6, "roberta": 6, "vit": 6}


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_model() -> Callable[[str], nn.Module]:
    """The same random model of a family at every call, in evaluation mode."""

    def make(family: str) -> nn.Module:
        torch.manual_seed(0)
        return FAMILIES[family]().eval()

    return make


@pytest.fixture
def inputs_of() -> Callable[[str], dict[str, Any]]:
    """A small batch that a model of the family takes."""

    def inputs(family: str) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(1)
        if family == "vit":
            return {"pixel_values": torch.randn(2, 3, 8, 8, generator=generator)}
        return {"input_ids": torch.randint(3, 64, (2, 7), generator=generator)}

    return inputs

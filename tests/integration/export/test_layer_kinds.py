"""Embeddings and convolutions are exported and converted as linear layers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from export_models import BENT, Inputs, Make, close, train_factors
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import LlamaForCausalLM

from lrlora import LRLoraConfig
from lrlora.export import ExportError, save_as_lora, save_from_lora, save_merged, to_lora


class Kinds(nn.Module):
    """An embedding, a convolution, and linear layers of which one has the other's name for an end."""

    def __init__(self, **convolution: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(11, 6)
        self.conv = nn.Conv2d(1, 5, 3, stride=2, padding=1, **convolution)
        self.head = nn.Linear(5, 4)
        self.inner = nn.ModuleDict({"head": nn.Linear(4, 3)})

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.inner["head"](self.head(self.conv(self.tokens(ids)[:, None]).mean((2, 3))))


KIND_TARGETS = ["tokens", "conv", "head"]
IDS = torch.randint(0, 11, (3, 8), generator=torch.Generator().manual_seed(2))


def adapt_kinds(**convolution: Any) -> PeftModel:
    config = LRLoraConfig(**BENT, target_modules=KIND_TARGETS, exclude_modules=["inner.head"])
    return get_peft_model(Kinds(**convolution), config).eval()


def test_embeddings_and_convolutions_are_exported_as_pefts_lora_writes_them(tmp_path: Path) -> None:
    model = adapt_kinds()
    export = save_as_lora(model, tmp_path, error=1e-5)
    assert [row.module for row in export.rows] == KIND_TARGETS
    loaded = PeftModel.from_pretrained(Kinds(), tmp_path).eval()
    torch.testing.assert_close(loaded(IDS), model(IDS), rtol=1e-3, atol=1e-4)
    merged = loaded.merge_and_unload()
    torch.testing.assert_close(merged(IDS), model(IDS), rtol=1e-3, atol=1e-4)


def test_embeddings_and_convolutions_are_converted(tmp_path: Path) -> None:
    config = LoraConfig(r=2, target_modules=KIND_TARGETS, exclude_modules=["inner.head"])
    lora = train_factors(get_peft_model(Kinds(), config)).eval()
    save_from_lora(lora, tmp_path, num_grid_points=6)
    loaded = PeftModel.from_pretrained(Kinds(), tmp_path).eval()
    torch.testing.assert_close(loaded(IDS), lora(IDS), rtol=1e-4, atol=1e-5)


def test_a_token_embedding_and_a_head_are_exported_both_ways(
    make_model: Make, inputs_of: Inputs, tmp_path: Path
) -> None:
    targets = ["embed_tokens", "lm_head", "q_proj"]
    config = LRLoraConfig(**BENT, target_modules=targets, rank_pattern={"layers.0.self_attn.q_proj": 0})
    model = get_peft_model(make_model("llama"), config).eval()
    export = save_as_lora(model, tmp_path / "lora", error=1e-5)
    assert "model.layers.0.self_attn.q_proj" not in {row.module for row in export.rows}, "its rank is 0"
    loaded = PeftModel.from_pretrained(make_model("llama"), tmp_path / "lora").eval()
    close(loaded, model, inputs_of("llama"), 1e-3)
    save_merged(model, tmp_path / "merged")
    merged = LlamaForCausalLM.from_pretrained(tmp_path / "merged").eval()
    close(merged, model, inputs_of("llama"))


@pytest.mark.parametrize("convolution", [{"dilation": 2}, {"padding_mode": "circular"}])
def test_a_convolution_that_lora_cannot_write_is_refused(convolution: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match=f"^conv: .*{next(iter(convolution))}"):
        to_lora(adapt_kinds(**convolution), rank=2)

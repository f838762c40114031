"""Backbones that are loaded as any other is, from a folder, and have random weights of a few kilobytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def save_backbone(family: str, folder: Path, **config: Any) -> str:
    """A ``llama`` or a ``bert`` whose tokens are bytes; returns its name for a study. ``config`` has further fields."""
    symbols = ["[PAD]", "[END]", *sorted(ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(symbols)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", eos_token="[END]")
    torch.manual_seed(0)
    model: hf.PreTrainedModel
    if family == "llama":
        ends = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
        model = hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, vocab_size=len(symbols), **ends, **config))
    else:
        model = hf.BertModel(hf.BertConfig(**SIZES, vocab_size=len(symbols), pad_token_id=0, **config))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)

"""Tiny models of transformers, of every kind that PEFT tests its methods on."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from subjects import Batch, Subject

VOCABULARY = 48
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# With the usual 0.02 a tiny model says next to nothing, and what an adapter adds would drown what it is added to.
SPREAD: dict[str, Any] = {"initializer_range": 0.2}
# These drop out inside of functions, where a test could not switch it off.
DRY: dict[str, Any] = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
GROUPED: dict[str, Any] = {"num_key_value_heads": 1}


def tokens() -> torch.Tensor:
    """A batch of token numbers, ``(2, 5)``, none of them special."""
    return torch.randint(3, VOCABULARY, (2, 5), generator=torch.Generator().manual_seed(1))


def text() -> Batch:
    """A batch of two texts."""
    ids = tokens()
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def text_to_text() -> Batch:
    """A batch of two texts and what was said of them so far."""
    return {**text(), "decoder_input_ids": tokens()[:, :3]}


def _decoder(name: str, build: Any, *targets: str) -> Subject:
    return Subject(name, build, text, {"target_modules": list(targets)}, task="CAUSAL_LM")


DECODERS = [
    _decoder("llama", lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL, **SPREAD)), "q_proj", "v_proj"),
    _decoder(
        "mistral", lambda: hf.MistralForCausalLM(hf.MistralConfig(**SMALL, **SPREAD, **GROUPED)), "q_proj", "v_proj"
    ),
    _decoder("qwen2", lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SMALL, **SPREAD, **GROUPED)), "q_proj", "v_proj"),
    _decoder(
        "gemma",
        lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**SMALL, **SPREAD, **GROUPED, head_dim=8)),
        "q_proj",
        "v_proj",
    ),
    _decoder("phi3", lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**SMALL, **SPREAD)), "qkv_proj", "o_proj"),
    _decoder(
        "opt",
        lambda: hf.OPTForCausalLM(
            hf.OPTConfig(
                hidden_size=16,
                ffn_dim=24,
                word_embed_proj_dim=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                vocab_size=VOCABULARY,
                max_position_embeddings=64,
                init_std=0.2,
                **DRY,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
            )
        ),
        "q_proj",
        "v_proj",
    ),
    _decoder("gpt_neox", lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SMALL, **SPREAD)), "query_key_value"),
    _decoder(
        "gpt2",
        lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(
                n_embd=16,
                n_layer=2,
                n_head=2,
                vocab_size=VOCABULARY,
                initializer_range=0.2,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
            )
        ),
        "c_attn",
    ),
    _decoder(
        "falcon",
        lambda: hf.FalconForCausalLM(
            hf.FalconConfig(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                vocab_size=VOCABULARY,
                initializer_range=0.2,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
            )
        ),
        "query_key_value",
    ),
    # No targets are named: the placement decides.
    Subject(
        "llama by placement", lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL, **SPREAD)), text, {}, "CAUSAL_LM"
    ),
]

ENCODERS = [
    Subject(
        "bert",
        lambda: hf.BertModel(hf.BertConfig(**SMALL, **SPREAD)),
        text,
        {"target_modules": ["query", "value"]},
        "FEATURE_EXTRACTION",
    ),
    Subject(
        "roberta",
        lambda: hf.RobertaModel(hf.RobertaConfig(**SMALL, **SPREAD, max_position_embeddings=32)),
        text,
        {"target_modules": ["query", "value"]},
        "FEATURE_EXTRACTION",
    ),
    Subject(
        "deberta-v2",
        lambda: hf.DebertaV2Model(hf.DebertaV2Config(**SMALL, **SPREAD, max_position_embeddings=32)),
        text,
        {"target_modules": ["query_proj", "value_proj"]},
        "FEATURE_EXTRACTION",
    ),
]

ENCODER_DECODERS = [
    Subject(
        "t5",
        lambda: hf.T5ForConditionalGeneration(
            hf.T5Config(
                d_model=16,
                d_kv=8,
                d_ff=24,
                num_layers=2,
                num_decoder_layers=1,
                num_heads=2,
                vocab_size=VOCABULARY,
                dropout_rate=0.0,
                pad_token_id=0,
                eos_token_id=2,
                decoder_start_token_id=0,
            )
        ),
        text_to_text,
        {"target_modules": ["q", "v"]},
        "SEQ_2_SEQ_LM",
    ),
    Subject(
        "bart",
        lambda: hf.BartForConditionalGeneration(
            hf.BartConfig(
                d_model=16,
                encoder_layers=2,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=24,
                decoder_ffn_dim=24,
                vocab_size=VOCABULARY,
                max_position_embeddings=32,
                init_std=0.2,
                **DRY,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
                decoder_start_token_id=2,
                forced_eos_token_id=2,
            )
        ),
        text_to_text,
        {"target_modules": ["q_proj", "v_proj"]},
        "SEQ_2_SEQ_LM",
    ),
]

SEQUENCE_CLASSIFIERS = [
    Subject(
        "llama classifier",
        lambda: hf.LlamaForSequenceClassification(hf.LlamaConfig(**SMALL, **SPREAD, num_labels=3)),
        text,
        {"target_modules": ["q_proj", "v_proj"]},
        "SEQ_CLS",
        trained_beside=("score",),
    ),
    Subject(
        "bert classifier",
        lambda: hf.BertForSequenceClassification(hf.BertConfig(**SMALL, **SPREAD, num_labels=3)),
        text,
        {"target_modules": ["query", "value"]},
        "SEQ_CLS",
        trained_beside=("classifier",),
    ),
]

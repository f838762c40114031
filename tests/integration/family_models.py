"""A tiny random model of every family that placements know, with the roles of its modules written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TOKENS: dict[str, Any] = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TEXT = {**SIZES, **TOKENS}
GROUPED = {**TEXT, "num_key_value_heads": 1, "head_dim": 8}
IMAGE: dict[str, Any] = {**SIZES, "image_size": 8, "patch_size": 4}
SEQ2SEQ: dict[str, Any] = {"d_model": 16, "vocab_size": 64, "pad_token_id": 0, "decoder_start_token_id": 0}
T5: dict[str, Any] = {**SEQ2SEQ, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 2}

_QKVO = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o"}
_OUT = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "out_proj": "o"}
_SELF = {"self.query": "q", "self.key": "k", "self.value": "v", "output.dense": "o"}
_TWO = {"mlp.fc1": "up", "mlp.fc2": "down"}
_GATED = {"mlp.gate_proj": "gate", "mlp.up_proj": "up", "mlp.down_proj": "down"}
_DENSE = {"intermediate.dense": "up", "output.dense": "down"}
_BLOOM = {"dense_h_to_4h": "up", "dense_4h_to_h": "down"}


def _in(part: str, roles: dict[str, str]) -> dict[str, str]:
    return {f"{part}.{name}": role for name, role in roles.items()}


LLAMA = {**_in("self_attn", _QKVO), **_GATED}
BERT = {**_in("attention", _SELF), **_DENSE}
VIT = {**_in("attention", _QKVO), **_TWO}
CLIP = {**_in("self_attn", _OUT), **_TWO}
OPT = {**_in("self_attn", _OUT), "fc1": "up", "fc2": "down"}
GPT2 = {"attn.c_attn": "qkv", "attn.c_proj": "o", "mlp.c_fc": "up", "mlp.c_proj": "down"}
FALCON = {"self_attention.query_key_value": "qkv", "self_attention.dense": "o", **_in("mlp", _BLOOM)}


def _t5(gated: bool, decoder: bool) -> dict[str, str]:
    roles = {f"layer.0.SelfAttention.{role}": role for role in "qkvo"}
    if decoder:
        roles |= {f"layer.1.EncDecAttention.{role}": role for role in "qkvo"}
    first = {"wi_0": "gate", "wi_1": "up"} if gated else {"wi": "up"}
    return {**roles, **_in(f"layer.{2 if decoder else 1}.DenseReluDense", {**first, "wo": "down"})}


def _tokens() -> dict[str, Tensor]:
    return {"input_ids": torch.randint(3, 64, (2, 7), generator=torch.Generator().manual_seed(1))}


def _pair() -> dict[str, Tensor]:
    return {**_tokens(), "decoder_input_ids": _tokens()["input_ids"][:, :5]}


def _image() -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))}


def _both() -> dict[str, Tensor]:
    return {**_tokens(), **_image()}


def _with_encoder_states() -> dict[str, Tensor]:
    return {**_tokens(), "encoder_hidden_states": torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(2))}


@dataclass(frozen=True)
class Family:
    """A family, or a variant of one.

    Attributes:
        build: Its model, of random weights.
        stacks: The roles of the modules of one layer, by the name of the list of layers and their number.
        inputs: A small batch.
    """

    build: Callable[[], nn.Module]
    stacks: dict[str, tuple[int, dict[str, str]]]
    inputs: Callable[[], dict[str, Tensor]] = field(default=_tokens)

    def model(self) -> nn.Module:
        """The same random model at every call, in evaluation mode."""
        torch.manual_seed(0)
        return self.build().eval()

    def roles(self) -> dict[str, str]:
        """The role of every module that has one, by its full name."""
        return {
            f"{stack}.{index}.{name}": role
            for stack, (count, roles) in self.stacks.items()
            for index in range(count)
            for name, role in roles.items()
        }


def _one(build: Callable[[], nn.Module], stack: str, roles: dict[str, str], **more: Any) -> Family:
    return Family(build, {stack: (2, roles)}, **more)


FAMILIES: dict[str, Family] = {
    "llama": _one(lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**TEXT)), "model.layers", LLAMA),
    "qwen2": _one(lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**TEXT, num_key_value_heads=1)), "model.layers", LLAMA),
    "qwen3": _one(lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**GROUPED)), "model.layers", LLAMA),
    "mistral": _one(lambda: hf.MistralForCausalLM(hf.MistralConfig(**GROUPED)), "model.layers", LLAMA),
    "smollm3": _one(
        lambda: hf.SmolLM3ForCausalLM(hf.SmolLM3Config(**TEXT, num_key_value_heads=1)), "model.layers", LLAMA
    ),
    "gemma": _one(lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**GROUPED)), "model.layers", LLAMA),
    "gemma2": _one(lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**GROUPED)), "model.layers", LLAMA),
    "gemma3_text": _one(lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**GROUPED)), "model.layers", LLAMA),
    "mixtral": _one(
        lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**GROUPED, num_local_experts=2)),
        "model.layers",
        _in("self_attn", _QKVO),
    ),
    "phi": _one(
        lambda: hf.PhiForCausalLM(hf.PhiConfig(**TEXT)),
        "model.layers",
        {**_in("self_attn", {"q_proj": "q", "k_proj": "k", "v_proj": "v", "dense": "o"}), **_TWO},
    ),
    "phi3": _one(
        lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**TEXT)),
        "model.layers",
        {
            "self_attn.qkv_proj": "qkv",
            "self_attn.o_proj": "o",
            "mlp.gate_up_proj": "gate_up",
            "mlp.down_proj": "down",
        },
    ),
    "gpt2": _one(
        lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, **TOKENS)), "transformer.h", GPT2
    ),
    "gpt2 with cross attention": _one(
        lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, add_cross_attention=True, **TOKENS)),
        "transformer.h",
        {**GPT2, **_in("crossattention", {"q_attn": "q", "c_attn": "qkv", "c_proj": "o"})},
        inputs=_with_encoder_states,
    ),
    "gptj": _one(
        lambda: hf.GPTJForCausalLM(hf.GPTJConfig(n_embd=16, n_layer=2, n_head=2, rotary_dim=4, **TOKENS)),
        "transformer.h",
        {**_in("attn", _OUT), "mlp.fc_in": "up", "mlp.fc_out": "down"},
    ),
    "gpt_neox": _one(
        lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**TEXT)),
        "gpt_neox.layers",
        {"attention.query_key_value": "qkv", "attention.dense": "o", **_in("mlp", _BLOOM)},
    ),
    "falcon": _one(lambda: hf.FalconForCausalLM(hf.FalconConfig(**TEXT)), "transformer.h", FALCON),
    "bloom": _one(
        lambda: hf.BloomForCausalLM(hf.BloomConfig(hidden_size=16, n_layer=2, n_head=2, **TOKENS)),
        "transformer.h",
        FALCON,
    ),
    # With embeddings of another width there are projections in and out, which are no layer's.
    "opt": _one(
        lambda: hf.OPTForCausalLM(hf.OPTConfig(**TEXT, ffn_dim=24, word_embed_proj_dim=12)),
        "model.decoder.layers",
        OPT,
    ),
    "bert": _one(lambda: hf.BertForSequenceClassification(hf.BertConfig(**TEXT)), "bert.encoder.layer", BERT),
    "bert as a decoder": _one(
        lambda: hf.BertLMHeadModel(hf.BertConfig(**TEXT, is_decoder=True, add_cross_attention=True)),
        "bert.encoder.layer",
        {**BERT, **_in("crossattention", _SELF)},
        inputs=_with_encoder_states,
    ),
    "roberta": _one(
        lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**TEXT)), "roberta.encoder.layer", BERT
    ),
    "xlm-roberta": _one(lambda: hf.XLMRobertaForMaskedLM(hf.XLMRobertaConfig(**TEXT)), "roberta.encoder.layer", BERT),
    "camembert": _one(
        lambda: hf.CamembertForTokenClassification(hf.CamembertConfig(**TEXT)), "roberta.encoder.layer", BERT
    ),
    "electra": _one(
        lambda: hf.ElectraForSequenceClassification(hf.ElectraConfig(**TEXT, embedding_size=12)),
        "electra.encoder.layer",
        BERT,
    ),
    "deberta": _one(
        lambda: hf.DebertaForSequenceClassification(
            hf.DebertaConfig(**TEXT, relative_attention=True, pos_att_type=["c2p", "p2c"], max_relative_positions=8)
        ),
        "deberta.encoder.layer",
        {
            **_in(
                "attention", {"self.in_proj": "qkv", "self.pos_proj": "k", "self.pos_q_proj": "q", "output.dense": "o"}
            ),
            **_DENSE,
        },
    ),
    "deberta-v2": _one(
        lambda: hf.DebertaV2ForSequenceClassification(
            hf.DebertaV2Config(**TEXT, relative_attention=True, pos_att_type=["c2p", "p2c"], max_relative_positions=8)
        ),
        "deberta.encoder.layer",
        {
            **_in("attention.self", {"query_proj": "q", "key_proj": "k", "value_proj": "v"}),
            **_in("attention.self", {"pos_query_proj": "q", "pos_key_proj": "k"}),
            "attention.output.dense": "o",
            **_DENSE,
        },
    ),
    "distilbert": _one(
        lambda: hf.DistilBertForSequenceClassification(
            hf.DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=24, **TOKENS)
        ),
        "distilbert.transformer.layer",
        {
            **_in("attention", {"q_lin": "q", "k_lin": "k", "v_lin": "v", "out_lin": "o"}),
            "ffn.lin1": "up",
            "ffn.lin2": "down",
        },
    ),
    "modernbert": _one(
        lambda: hf.ModernBertForSequenceClassification(
            hf.ModernBertConfig(**TEXT, cls_token_id=1, sep_token_id=2, max_position_embeddings=16)
        ),
        "model.layers",
        {"attn.Wqkv": "qkv", "attn.Wo": "o", "mlp.Wi": "gate_up", "mlp.Wo": "down"},
    ),
    "t5": Family(
        lambda: hf.T5ForConditionalGeneration(hf.T5Config(**T5)),
        {"encoder.block": (3, _t5(False, False)), "decoder.block": (2, _t5(False, True))},
        _pair,
    ),
    "t5 gated": Family(
        lambda: hf.T5ForConditionalGeneration(hf.T5Config(**T5, feed_forward_proj="gated-gelu")),
        {"encoder.block": (3, _t5(True, False)), "decoder.block": (2, _t5(True, True))},
        _pair,
    ),
    "mt5": Family(
        lambda: hf.MT5ForConditionalGeneration(hf.MT5Config(**T5)),
        {"encoder.block": (3, _t5(True, False)), "decoder.block": (2, _t5(True, True))},
        _pair,
    ),
    "umt5": Family(
        lambda: hf.UMT5ForConditionalGeneration(hf.UMT5Config(**T5)),
        {"encoder.block": (3, _t5(True, False)), "decoder.block": (2, _t5(True, True))},
        _pair,
    ),
    "bart": Family(
        lambda: hf.BartForConditionalGeneration(
            hf.BartConfig(
                **SEQ2SEQ,
                encoder_layers=3,
                decoder_layers=2,
                encoder_ffn_dim=24,
                decoder_ffn_dim=24,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                max_position_embeddings=16,
            )
        ),
        {
            "model.encoder.layers": (3, OPT),
            "model.decoder.layers": (2, {**OPT, **_in("encoder_attn", _OUT)}),
        },
        _pair,
    ),
    "vit": _one(lambda: hf.ViTForImageClassification(hf.ViTConfig(**IMAGE)), "vit.layers", VIT, inputs=_image),
    "deit": _one(lambda: hf.DeiTForImageClassification(hf.DeiTConfig(**IMAGE)), "deit.layers", VIT, inputs=_image),
    "dinov2": _one(
        lambda: hf.Dinov2ForImageClassification(hf.Dinov2Config(**IMAGE, mlp_ratio=2)),
        "dinov2.encoder.layer",
        VIT,
        inputs=_image,
    ),
    "dinov2 with SwiGLU": _one(
        lambda: hf.Dinov2ForImageClassification(hf.Dinov2Config(**IMAGE, mlp_ratio=2, use_swiglu_ffn=True)),
        "dinov2.encoder.layer",
        {**_in("attention", _QKVO), **_GATED},
        inputs=_image,
    ),
    "dinov2_with_registers": _one(
        lambda: hf.Dinov2WithRegistersForImageClassification(hf.Dinov2WithRegistersConfig(**IMAGE, mlp_ratio=2)),
        "dinov2_with_registers.encoder.layer",
        VIT,
        inputs=_image,
    ),
    "clip": Family(
        lambda: hf.CLIPModel(
            hf.CLIPConfig(
                text_config={**TEXT, "max_position_embeddings": 8},
                vision_config={**IMAGE, "num_hidden_layers": 3},
                projection_dim=12,
            )
        ),
        {"text_model.encoder.layers": (2, CLIP), "vision_model.encoder.layers": (3, CLIP)},
        _both,
    ),
    "clip_text_model": _one(
        lambda: hf.CLIPTextModelWithProjection(hf.CLIPTextConfig(**TEXT, max_position_embeddings=8)),
        "text_model.encoder.layers",
        CLIP,
    ),
    "clip_vision_model": _one(
        lambda: hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**IMAGE)),
        "vision_model.encoder.layers",
        CLIP,
        inputs=_image,
    ),
}


def output_of(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """What the model computes, as one tensor that every layer has a part in."""
    outputs = model(**inputs)
    for name in ("logits", "logits_per_image", "text_embeds", "image_embeds"):
        if (found := getattr(outputs, name, None)) is not None:
            return found
    raise AssertionError(f"{type(outputs).__name__} has none of the outputs that are looked for")

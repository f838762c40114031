"""What part a module plays in a transformer block, by the naming of its family.

Roles: ``q k v o`` of the attention, ``qkv`` where a family fuses the first three; ``gate up down`` of the MLP,
``gate_up`` where fused. A two-matrix MLP has ``up`` and ``down``. Cross attention has the roles of attention.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ATTENTION = ("q", "k", "v", "qkv", "o")
MLP = ("gate", "up", "gate_up", "down")
ROLES = ATTENTION + MLP
FUSED: dict[str, tuple[str, ...]] = {"qkv": ("q", "k", "v"), "gate_up": ("gate", "up")}
"""Roles of matrices that hold several projections, and the roles that these have where they are apart."""

_LLAMA = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
_BERT = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "o",
    "crossattention.self.query": "q",
    "crossattention.self.key": "k",
    "crossattention.self.value": "v",
    "crossattention.output.dense": "o",
    "intermediate.dense": "up",
    "output.dense": "down",
}
# The content's projections, and, as the keys and queries they are, those of the relative positions.
_DEBERTA = {
    "attention.self.in_proj": "qkv",
    "attention.self.pos_proj": "k",
    "attention.self.pos_q_proj": "q",
    "attention.output.dense": "o",
    "intermediate.dense": "up",
    "output.dense": "down",
}
_DEBERTA_V2 = {
    "attention.self.query_proj": "q",
    "attention.self.key_proj": "k",
    "attention.self.value_proj": "v",
    "attention.self.pos_key_proj": "k",
    "attention.self.pos_query_proj": "q",
    "attention.output.dense": "o",
    "intermediate.dense": "up",
    "output.dense": "down",
}
_DISTILBERT = {
    "attention.q_lin": "q",
    "attention.k_lin": "k",
    "attention.v_lin": "v",
    "attention.out_lin": "o",
    "ffn.lin1": "up",
    "ffn.lin2": "down",
}
_MODERNBERT = {"attn.Wqkv": "qkv", "attn.Wo": "o", "mlp.Wi": "gate_up", "mlp.Wo": "down"}
_T5 = {
    **{
        f"{attention}.{role}": role
        for attention in ("SelfAttention", "EncDecAttention")
        for role in ("q", "k", "v", "o")
    },
    "DenseReluDense.wi": "up",
    "DenseReluDense.wi_0": "gate",
    "DenseReluDense.wi_1": "up",
    "DenseReluDense.wo": "down",
}
_OPT = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.out_proj": "o",
    "fc1": "up",
    "fc2": "down",
}
_BART = {
    **_OPT,
    "encoder_attn.q_proj": "q",
    "encoder_attn.k_proj": "k",
    "encoder_attn.v_proj": "v",
    "encoder_attn.out_proj": "o",
}
_GPT_NEOX = {
    "attention.query_key_value": "qkv",
    "attention.dense": "o",
    "mlp.dense_h_to_4h": "up",
    "mlp.dense_4h_to_h": "down",
}
_FALCON = {
    "self_attention.query_key_value": "qkv",
    "self_attention.dense": "o",
    "mlp.dense_h_to_4h": "up",
    "mlp.dense_4h_to_h": "down",
}
# Vision transformers were renamed in transformers 5; checkpoints adapted under either name resolve.
_VIT = {
    "attention.q_proj": "q",
    "attention.k_proj": "k",
    "attention.v_proj": "v",
    "attention.o_proj": "o",
    "attention.attention.query": "q",
    "attention.attention.key": "k",
    "attention.attention.value": "v",
    "attention.output.dense": "o",
    "mlp.fc1": "up",
    "mlp.fc2": "down",
    "intermediate.dense": "up",
    "output.dense": "down",
}
_DINOV2 = {
    **_VIT,
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
    "mlp.weights_in": "gate_up",
    "mlp.weights_out": "down",
}
_CLIP = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.out_proj": "o",
    "mlp.fc1": "up",
    "mlp.fc2": "down",
}
_GPT2 = {
    "attn.c_attn": "qkv",
    "attn.c_proj": "o",
    "crossattention.q_attn": "q",
    "crossattention.c_attn": "qkv",  # of keys and values
    "crossattention.c_proj": "o",
    "mlp.c_fc": "up",
    "mlp.c_proj": "down",
}
_GPTJ = {
    "attn.q_proj": "q",
    "attn.k_proj": "k",
    "attn.v_proj": "v",
    "attn.out_proj": "o",
    "mlp.fc_in": "up",
    "mlp.fc_out": "down",
}
_PHI = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.dense": "o",
    "mlp.fc1": "up",
    "mlp.fc2": "down",
}
_PHI3 = {
    "self_attn.qkv_proj": "qkv",
    "self_attn.o_proj": "o",
    "mlp.gate_up_proj": "gate_up",
    "mlp.down_proj": "down",
}
_FAMILIES: dict[str, Mapping[str, str]] = {
    **dict.fromkeys(["llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "smollm3"], _LLAMA),
    # Its experts are parameters, and no linear modules: the attention alone has roles.
    "mixtral": {name: role for name, role in _LLAMA.items() if role in ATTENTION},
    "phi": _PHI,
    "phi3": _PHI3,
    "gpt2": _GPT2,
    "gptj": _GPTJ,
    "gpt_neox": _GPT_NEOX,
    **dict.fromkeys(["falcon", "bloom"], _FALCON),
    "opt": _OPT,
    **dict.fromkeys(["bert", "roberta", "xlm-roberta", "camembert", "electra"], _BERT),
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA_V2,
    "distilbert": _DISTILBERT,
    "modernbert": _MODERNBERT,
    **dict.fromkeys(["t5", "mt5", "umt5"], _T5),
    "bart": _BART,
    **dict.fromkeys(["vit", "deit"], _VIT),
    **dict.fromkeys(["dinov2", "dinov2_with_registers"], _DINOV2),
    **dict.fromkeys(["clip", "clip_vision_model", "clip_text_model"], _CLIP),
}


def register_family(model_type: str, roles: Mapping[str, str]) -> None:
    """Teach the placements a family of models.

    Args:
        model_type: ``model.config.model_type``.
        roles: From the end of a module's name, such as ``"attn.q_proj"``, to its role.

    Raises:
        ValueError: A role that does not exist.
    """
    for suffix, role in roles.items():
        if role not in ROLES:
            raise ValueError(f"unknown role {role!r} for {suffix!r} (known: {', '.join(ROLES)})")
    _FAMILIES[model_type] = dict(roles)


def known_families() -> list[str]:
    """The values of ``model.config.model_type`` whose roles are known."""
    return sorted(_FAMILIES)


def role_of(module_name: str, model_type: str | None) -> str | None:
    """The role of a module, or None: not a projection of a block, or of a family that is not known.

    >>> role_of("model.layers.0.self_attn.q_proj", "llama")
    'q'
    >>> role_of("bert.encoder.layer.3.attention.output.dense", "bert")
    'o'
    >>> role_of("bert.pooler.dense", "bert") is None
    True
    """
    # "attention.output.dense" ends in "output.dense" as well: the longest name that fits is meant.
    fitting = [
        (len(suffix), role)
        for suffix, role in _FAMILIES.get(model_type or "", {}).items()
        if module_name == suffix or module_name.endswith("." + suffix)
    ]
    return max(fitting)[1] if fitting else None


def depth_of(module_name: str) -> int | None:
    """The index of the layer that a module is in, from the first number in its name; None outside the layers.

    >>> depth_of("model.layers.17.mlp.down_proj")
    17
    >>> depth_of("classifier") is None
    True
    """
    match = _LAYER.search(module_name)
    return int(match.group(1)) if match else None


def stack_of(module_name: str) -> str:
    """The list of layers that a module is in; the empty string outside the layers.

    A model with an encoder and a decoder has two, and so has one with a text and a vision tower. Layers are numbered
    and counted in each by itself.

    >>> stack_of("decoder.block.3.layer.1.EncDecAttention.q")
    'decoder.block'
    >>> stack_of("classifier")
    ''
    """
    match = _LAYER.search(module_name)
    return module_name[: match.start()] if match else ""


_LAYER = re.compile(r"(?:^|\.)(\d+)\.")

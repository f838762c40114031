"""The role of a module in a transformer block, by the names that its family of models uses.

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


def _under(parent: str, **names: str) -> dict[str, str]:
    """Returns roles by the ends of full names: the modules called ``names``, separated by blanks, in one parent."""
    return {f"{parent}.{name}": role for role, several in names.items() for name in several.split()}


_PROJ = {"q": "q_proj", "k": "k_proj", "v": "v_proj"}
_SELF = _under("self_attn", **_PROJ, o="o_proj")
_QKV = {"q": "query", "k": "key", "v": "value"}
_FC = {"up": "fc1", "down": "fc2"}
_FEED_FORWARD = {"intermediate.dense": "up", "output.dense": "down"}
_LLAMA = {**_SELF, **_under("mlp", gate="gate_proj", up="up_proj", down="down_proj")}
_BERT_ATTENTION = {"attention.output.dense": "o", **_FEED_FORWARD}
_BERT = {
    **_under("attention.self", **_QKV),
    **_under("crossattention", q="self.query", k="self.key", v="self.value", o="output.dense"),
    **_BERT_ATTENTION,
}
# The content's projections, and, as the keys and queries they are, those of the relative positions.
_DEBERTA = {**_under("attention.self", qkv="in_proj", k="pos_proj", q="pos_q_proj"), **_BERT_ATTENTION}
_DEBERTA_V2 = {
    **_under("attention.self", q="query_proj pos_query_proj", k="key_proj pos_key_proj", v="value_proj"),
    **_BERT_ATTENTION,
}
_DISTILBERT = {
    **_under("attention", q="q_lin", k="k_lin", v="v_lin", o="out_lin"),
    **_under("ffn", up="lin1", down="lin2"),
}
_MODERNBERT = {**_under("attn", qkv="Wqkv", o="Wo"), **_under("mlp", gate_up="Wi", down="Wo")}
_T5 = {
    **_under("SelfAttention", q="q", k="k", v="v", o="o"),
    **_under("EncDecAttention", q="q", k="k", v="v", o="o"),
    **_under("DenseReluDense", gate="wi_0", up="wi wi_1", down="wo"),
}
_OPT = {**_under("self_attn", **_PROJ, o="out_proj"), "fc1": "up", "fc2": "down"}
_BART = {**_OPT, **_under("encoder_attn", **_PROJ, o="out_proj")}
_CLIP = {**_under("self_attn", **_PROJ, o="out_proj"), **_under("mlp", **_FC)}
_NEOX_MLP = _under("mlp", up="dense_h_to_4h", down="dense_4h_to_h")
_GPT_NEOX = {**_under("attention", qkv="query_key_value", o="dense"), **_NEOX_MLP}
_FALCON = {**_under("self_attention", qkv="query_key_value", o="dense"), **_NEOX_MLP}
# Vision transformers were renamed in transformers 5; checkpoints adapted under either name resolve.
_VIT = {
    **_under("attention", **_PROJ, o="o_proj output.dense"),
    **_under("attention.attention", **_QKV),
    **_under("mlp", **_FC),
    **_FEED_FORWARD,
}
_DINOV2 = {**_VIT, **_under("mlp", gate="gate_proj", up="up_proj", gate_up="weights_in", down="down_proj weights_out")}
_GPT2 = {
    **_under("attn", qkv="c_attn", o="c_proj"),
    **_under("crossattention", q="q_attn", qkv="c_attn", o="c_proj"),  # its c_attn is of keys and values
    **_under("mlp", up="c_fc", down="c_proj"),
}
_GPTJ = {**_under("attn", **_PROJ, o="out_proj"), **_under("mlp", up="fc_in", down="fc_out")}
_PHI = {**_under("self_attn", **_PROJ, o="dense"), **_under("mlp", **_FC)}
_PHI3 = {**_under("self_attn", qkv="qkv_proj", o="o_proj"), **_under("mlp", gate_up="gate_up_proj", down="down_proj")}

_FAMILIES: dict[str, Mapping[str, str]] = {
    **dict.fromkeys(["llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "smollm3"], _LLAMA),
    "mixtral": _SELF,  # its experts are parameters, and no linear modules
    **{"phi": _PHI, "phi3": _PHI3, "gpt2": _GPT2, "gptj": _GPTJ, "gpt_neox": _GPT_NEOX, "opt": _OPT, "bart": _BART},
    **dict.fromkeys(["falcon", "bloom"], _FALCON),
    **dict.fromkeys(["bert", "roberta", "xlm-roberta", "camembert", "electra"], _BERT),
    **{"deberta": _DEBERTA, "deberta-v2": _DEBERTA_V2, "distilbert": _DISTILBERT, "modernbert": _MODERNBERT},
    **dict.fromkeys(["t5", "mt5", "umt5"], _T5),
    **dict.fromkeys(["vit", "deit"], _VIT),
    **dict.fromkeys(["dinov2", "dinov2_with_registers"], _DINOV2),
    **dict.fromkeys(["clip", "clip_vision_model", "clip_text_model"], _CLIP),
}


def register_family(model_type: str, roles: Mapping[str, str]) -> None:
    """Add the roles of a family of models, for placements.

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


def model_type_of(model: object) -> str | None:
    """Returns ``model.config.model_type``; None for a model that has none."""
    return getattr(getattr(model, "config", None), "model_type", None)


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

    A model with an encoder and a decoder has two. Layers are counted in each.

    >>> stack_of("decoder.block.3.layer.1.EncDecAttention.q")
    'decoder.block'
    >>> stack_of("classifier")
    ''
    """
    match = _LAYER.search(module_name)
    return module_name[: match.start()] if match else ""


_LAYER = re.compile(r"(?:^|\.)(\d+)\.")

"""What part a module plays in a transformer block, by the naming of its family.

Roles: ``q k v o`` of the attention, ``qkv`` where a family fuses the first three; ``gate up down`` of the MLP,
``gate_up`` where fused. A two-matrix MLP has ``up`` and ``down``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ATTENTION = ("q", "k", "v", "qkv", "o")
MLP = ("gate", "up", "gate_up", "down")
ROLES = ATTENTION + MLP

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
    "intermediate.dense": "up",
    "output.dense": "down",
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
_CLIP = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.out_proj": "o",
    "mlp.fc1": "up",
    "mlp.fc2": "down",
}
_FAMILIES: dict[str, Mapping[str, str]] = {
    **dict.fromkeys(["llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "smollm3"], _LLAMA),
    **dict.fromkeys(["bert", "roberta", "xlm-roberta", "camembert", "electra"], _BERT),
    **dict.fromkeys(["vit", "dinov2", "deit"], _VIT),
    **dict.fromkeys(["clip", "clip_vision_model", "clip_text_model"], _CLIP),
    "phi": {
        "self_attn.q_proj": "q",
        "self_attn.k_proj": "k",
        "self_attn.v_proj": "v",
        "self_attn.dense": "o",
        "mlp.fc1": "up",
        "mlp.fc2": "down",
    },
    "phi3": {
        "self_attn.qkv_proj": "qkv",
        "self_attn.o_proj": "o",
        "mlp.gate_up_proj": "gate_up",
        "mlp.down_proj": "down",
    },
    "gpt2": {"attn.c_attn": "qkv", "attn.c_proj": "o", "mlp.c_fc": "up", "mlp.c_proj": "down"},
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
    match = re.search(r"(?:^|\.)(\d+)\.", module_name)
    return int(match.group(1)) if match else None

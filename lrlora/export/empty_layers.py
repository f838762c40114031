"""An adapter without its base model, on linear layers of the sizes of its factors whose weights take no memory.

ΔW of LR-LoRA and of LoRA depends on what the adapter saves and on nothing else, for every kind of layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from lrlora.export.lora_layout import Pair
from lrlora.tuner import LRLoraConfig


def on_empty_layers(config: LRLoraConfig | LoraConfig, pairs: Mapping[str, Pair]) -> PeftModel:
    """Returns a new adapter with this configuration on one layer for each pair of factors, by its full name.

    Of a LoRA configuration only what plain LoRA needs is taken over. The factors themselves are not loaded.

    Raises:
        ValueError: The configuration and the modules do not fit each other.
    """
    model = nn.Module()
    for name, pair in pairs.items():
        layer = nn.Linear(pair.A.shape[1], pair.B.shape[0], bias=False, device="meta")
        layer.weight = nn.Parameter(torch.zeros(1).expand(layer.weight.shape), requires_grad=False)
        parent = model
        for part in name.split(".")[:-1]:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(name.rpartition(".")[2], layer)
    targets, ranks = list(pairs), {f"^{re.escape(name)}": len(pair.A) for name, pair in pairs.items()}
    if isinstance(config, LRLoraConfig):
        exact = replace(
            config,
            task_type=None,  # type: ignore[call-arg]  # a field of PEFT's, which is untyped here
            base_model_name_or_path=None,
            revision=None,
            modules_to_save=None,
            target_modules=targets,
            exclude_modules=None,
            layers_to_transform=None,
            layers_pattern=None,
            placement="all",
            layers="all",
            rank_allocation="uniform",
            rank_pattern=ranks,
        )
    else:
        exact = LoraConfig(r=config.r, lora_alpha=config.lora_alpha, target_modules=targets, rank_pattern=ranks)
    return get_peft_model(model, exact)

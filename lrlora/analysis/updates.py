"""ΔW of an adapted layer of any PEFT method: what a merge adds to the weight."""

from __future__ import annotations

import copy

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")


def moves_the_weight(config: PeftConfig) -> bool:
    """Returns whether the method's initialisation changes the frozen weight, as PiSSA's does."""
    return getattr(config, "init_lora_weights", True) not in _PLAIN_STARTS


@torch.no_grad()
def weight_update(layer: BaseTunerLayer, adapter_name: str = "default", pretrained: Tensor | None = None) -> Tensor:
    """Returns ΔW of a layer, merged on a copy in float64, so that rounding adds no noise of full rank.

    Args:
        layer: A layer that PEFT has adapted. It is left as it is, merged or not.
        adapter_name: The adapter.
        pretrained: The weight before the layer was adapted, for methods that change the frozen weight at the start.
            Without it the update is relative to the frozen weight.

    Returns:
        ``(out, in)``, float64; of a convolution, ``(out, in · kernel)``.
    """
    merged = copy.deepcopy(layer).double()
    if merged.merged:
        merged.unmerge()
    weight = merged.get_base_layer().weight
    before = (weight if pretrained is None else pretrained).to(weight, copy=True)
    merged.merge(adapter_names=[adapter_name])
    base = merged.get_base_layer()
    return as_matrix(base, base.weight - before)


def as_matrix(module: nn.Module, weight: Tensor) -> Tensor:
    """Returns a module's weight, or an update of it, as a matrix ``(out, in)``."""
    return weight.T if isinstance(module, Conv1D) else weight.flatten(1)

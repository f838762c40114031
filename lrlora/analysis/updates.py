"""ΔW of any adapted layer: what PEFT's merge would add to the weight, whatever the method computes in its forward."""

from __future__ import annotations

import copy

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

_STARTS_AT_ZERO = (True, False, "gaussian", "orthogonal", "eva")
"""Starts of PEFT's LoRA that leave the frozen weight as it was."""


def moves_the_weight(config: PeftConfig) -> bool:
    """Whether a method's start takes something out of the frozen weight, as PiSSA's does, so that it is no longer
    the pretrained one."""
    return getattr(config, "init_lora_weights", True) not in _STARTS_AT_ZERO


@torch.no_grad()
def weight_update(layer: BaseTunerLayer, adapter_name: str = "default", pretrained: Tensor | None = None) -> Tensor:
    """ΔW of a layer, merged on a copy in float64, so that rounding adds no noise of full rank.

    Args:
        layer: A layer that PEFT has adapted. It stays as it is, merged or not.
        adapter_name: The adapter.
        pretrained: The weight as it was before the layer was adapted, for methods whose start moves the frozen weight,
            such as PiSSA. Without it, the update is against the frozen weight.

    Returns:
        (out, in), float64; of a convolution, (out, in times the kernel's size).
    """
    merged = copy.deepcopy(layer).double()
    if merged.merged:
        merged.unmerge()
    base = merged.get_base_layer()
    before = (base.weight if pretrained is None else pretrained).to(base.weight, copy=True)
    merged.merge(adapter_names=[adapter_name])
    base = merged.get_base_layer()
    return as_matrix(base, base.weight - before)


def as_matrix(module: nn.Module, weight: Tensor) -> Tensor:
    """A module's weight, or an update of it, as a matrix of shape (out, in)."""
    return weight.T if isinstance(module, Conv1D) else weight.flatten(1)

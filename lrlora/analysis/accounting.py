"""Counting parameters."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lrlora.tuner.layer import LRLoraLayer
from lrlora.tuner.theta import THETA


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of scalars; a shared parameter counts once.

    Attributes:
        trainable: All that an optimizer would train, other trained modules such as a head included.
        adapter: The trainable ones of adapters, θ included.
        transfer: The trainable ones of θ.
        total: All of the model, adapters included.
    """

    trainable: int
    adapter: int
    transfer: int
    total: int


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count a model's parameters. Works on the meta device, and for any PEFT method."""
    theta = {
        id(part.weight)
        for module in model.modules()
        if isinstance(module, LRLoraLayer)
        for name in THETA
        for part in getattr(module, name).values()
    }
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    # What a PEFT model trains beside its adapters are copies of whole modules, under this name.
    adapter = {name: p for name, p in trainable.items() if ".modules_to_save." not in name}
    is_adapted = hasattr(model, "peft_config")
    return ParameterCount(
        trainable=sum(p.numel() for p in trainable.values()),
        adapter=sum(p.numel() for p in adapter.values()) if is_adapted else 0,
        transfer=sum(p.numel() for p in trainable.values() if id(p) in theta),
        total=sum(p.numel() for p in model.parameters()),
    )

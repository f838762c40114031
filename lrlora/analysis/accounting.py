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
        trainable: Of all trainable parameters, other trained modules such as a head included.
        adapter: Of the trainable parameters of adapters, θ included.
        transfer: Of the trainable parameters of θ.
        total: Of all parameters of the model, adapters included.
    """

    trainable: int
    adapter: int
    transfer: int
    total: int


def count_parameters(model: nn.Module) -> ParameterCount:
    """Counts the parameters of a model of any PEFT method, on any device, meta included."""
    theta = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, LRLoraLayer)
        for name in THETA
        for parameter in getattr(module, name).parameters()
    }
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    # A PEFT model keeps the whole modules that it trains beside its adapters under this name.
    adapter = {name: p for name, p in trainable.items() if ".modules_to_save." not in name}
    is_adapted = hasattr(model, "peft_config")
    return ParameterCount(
        trainable=sum(p.numel() for p in trainable.values()),
        adapter=sum(p.numel() for p in adapter.values()) if is_adapted else 0,
        transfer=sum(p.numel() for p in trainable.values() if id(p) in theta),
        total=sum(p.numel() for p in model.parameters()),
    )

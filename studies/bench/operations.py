"""How many tensor operations an adapted layer runs: for small layers they, and not the arithmetic, are the time."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it without annotations
    """Counts the operations of PyTorch that compute; views are not counted."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not (func.is_view or func is torch.ops.aten._unsafe_view.default)
        return func(*args, **(kwargs or {}))


def operations_per_layer(model: nn.Module, batch: int, length: int) -> tuple[float, float]:
    """Returns the mean numbers of operations, forward and backward, of a model's adapted linear layers.

    The frozen layer's own are among them. The gradients are cleared.

    Args:
        model: The adapted model, in the mode in which it is to be counted.
        batch: Examples.
        length: Tokens of each.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, BaseTunerLayer) and isinstance(module.get_base_layer(), nn.Linear)
    ]
    forward = backward = 0
    for layer in layers:
        weight = layer.get_base_layer().weight
        x = torch.randn(batch, length, weight.shape[1], device=weight.device, dtype=weight.dtype, requires_grad=True)
        with _Counter() as counter:
            y = layer(x)
            forward += counter.count
            y.backward(torch.ones_like(y))
            backward += counter.count
    model.zero_grad()
    return forward / len(layers), (backward - forward) / len(layers)

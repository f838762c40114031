"""Adapted convolutions: ΔW of the shape of the kernels, which φ is applied to entry by entry."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lrlora.tuner.compilation import outside_compiled_graphs
from lrlora.tuner.layer import AdaptedModule

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Convolution(AdaptedModule):
    """LR-LoRA on a convolution of one, two or three dimensions.

    The kernels, ``(out, in / groups, …)``, are one matrix with a row per output channel, and BA has its shape: the
    rank is that of all kernels side by side. LoRA factors it into two convolutions, of which the second has kernels of
    size 1; their product is this BA.
    """

    @staticmethod
    def _dimensions(base: nn.Module) -> tuple[int, int, bool]:
        weight = base.weight
        assert isinstance(weight, Tensor)
        return math.prod(weight.shape[1:]), weight.shape[0], False

    def get_delta_weight(self, adapter: str) -> Tensor:
        """ΔW of an adapter, of the shape of the kernels."""
        return self.delta_matrix(adapter).view(self.get_base_layer().weight.shape)  # type: ignore[operator]

    @outside_compiled_graphs
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The convolution of ``x`` with the kernels and their updates, and the bias."""
        active = self.unmerged_adapters()
        result: Tensor = self.base_layer(x, *args, **kwargs)
        base = self.get_base_layer()  # type: ignore[operator]  # PEFT is untyped here, so nn.Module answers for its methods
        for name in active:
            A, B = self.factors(name)
            transfer = self.transfer(name)
            plan = self.plan(name, A, B, transfer)
            with torch.autocast(A.device.type, enabled=False):
                delta = self.lrlora_engine[name].delta(A, B, transfer, plan)
            adapted = self._cast_input_dtype(x, self.held_factors(name)[0].dtype)  # type: ignore[operator]
            kernels = delta.view(base.weight.shape).to(adapted.dtype)
            # The convolution of the base layer with other kernels: its stride, padding and groups are the same.
            update = base._conv_forward(self.lrlora_dropout[name](adapted), kernels, None)
            result = result + update.to(result.dtype)
            self.lrlora_plan[name].watch(result)  # type: ignore[operator]
        return result

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """False: PEFT writes such adapters for linear layers only."""
        return False

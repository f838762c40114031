"""Adapted linear layers: one product with W + ΔW where the two may be added, and one beside the other where not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lrlora.tuner.compilation import outside_compiled_graphs
from lrlora.tuner.layer import AdaptedModule


class Linear(AdaptedModule):
    """LR-LoRA on an ``nn.Linear``, a transformers ``Conv1D``, or a quantised linear layer (see :mod:`.quantized`)."""

    @staticmethod
    def _dimensions(base: nn.Module) -> tuple[int, int, bool]:
        if isinstance(base, Conv1D):
            inside, out = base.weight.shape
            return inside, out, True
        return base.in_features, base.out_features, False  # type: ignore[return-value]  # quantised layers have these too

    @outside_compiled_graphs
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x (W + Σ ΔW)ᵀ + b, ``(..., in)`` to ``(..., out)``."""
        active = self.adapters_at_work()
        if not active:
            return self.base_layer(x, *args, **kwargs)  # type: ignore[no-any-return]
        if self._can_fuse(x, active, args, kwargs):
            base = self.get_base_layer()  # type: ignore[operator]  # PEFT is untyped here, so nn.Module answers for its methods
            weight = base.weight.T if self.fan_in_fan_out else base.weight
            result = self._through(active[0], x, weight, base.bias)
            # A model may write into what a layer returns, as DeBERTa does. Autograd refuses that for a view made inside
            # of a custom function, which this is one of. The function keeps nothing of what it returns.
            return torch.ops.aten._unsafe_view(result, result.shape)  # type: ignore[no-any-return]
        result = self.base_layer(x, *args, **kwargs)
        dtype = result.dtype
        if self.quantization_backend is not None:
            result = self.quantization_backend.maybe_clone_base_result(result)
        for name in active:
            # The update is computed in float32 at least, and rounded to bfloat16 if that is what it meets; not to
            # float16, whose smallest numbers are not much smaller than an update's entries.
            in_bfloat16 = x.dtype == torch.bfloat16
            adapted = x if in_bfloat16 else self._cast_input_dtype(x, self.lrlora_A[name].dtype)  # type: ignore[operator]
            result = result + self._through(name, self.lrlora_dropout[name](adapted), None, None)
        return result.to(dtype)  # type: ignore[no-any-return]

    def _through(self, adapter: str, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """x (W + ΔW)ᵀ + b, or x ΔWᵀ."""
        A, B = self.wide_factors(adapter)
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        elif x.dtype not in (A.dtype, torch.bfloat16):
            x = x.to(A.dtype)
        if bias is not None:
            bias = bias.to(x.dtype)
        fitted = self.lrlora_fits[adapter].fitted(self)
        with torch.autocast(device, enabled=False):
            return self.lrlora_engine[adapter].linear(x, weight, bias, A, B, self.transfer(adapter), fitted)

    def _can_fuse(self, x: Tensor, active: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether W and ΔW may be added before they meet x: one adapter, and nothing between x and it.

        A weight in half precision is not added to: rounding the sum would lose what is small beside the weight. Under
        autocast the weight itself is rounded when it meets x, and the sum loses no more than that.
        """
        base = self.base_layer
        dropout = self.lrlora_dropout[active[0]]
        weight = getattr(base, "weight", None)
        return (
            len(active) == 1
            and not args
            and not kwargs
            and type(base) in (nn.Linear, Conv1D)
            and self.quantization_backend is None
            and not (self.training and isinstance(dropout, nn.Dropout))
            and weight is not None
            and weight.dtype == self.lrlora_A[active[0]].dtype
            and weight.dtype in (torch.float32, torch.float64)
            and (weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type))
        )

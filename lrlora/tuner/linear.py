"""Adapted linear layers: the base layer is called and the update added, or one product serves both if it is cheaper."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from transformers.pytorch_utils import Conv1D

from lrlora.transfer import TransferFunction
from lrlora.tuner.compilation import outside_compiled_graphs
from lrlora.tuner.layer import AdaptedModule


class _Prepared(NamedTuple):
    """What an adapter is evaluated with in one forward pass."""

    A: Tensor
    B: Tensor
    transfer: TransferFunction
    plan: Any


class Linear(AdaptedModule):
    """LR-LoRA on an ``nn.Linear``, a transformers ``Conv1D``, or a quantised linear layer (see :mod:`.quantized`)."""

    @staticmethod
    def _dimensions(base: nn.Module) -> tuple[int, int, bool]:
        if isinstance(base, Conv1D):
            in_features, out_features = base.weight.shape
            return in_features, out_features, True
        return base.in_features, base.out_features, False  # type: ignore[return-value]  # quantised layers have these too

    @outside_compiled_graphs
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Returns x (W + Σ ΔW)ᵀ + b, ``(..., in)`` to ``(..., out)``."""
        active = self.unmerged_adapters()
        if not active:
            return self.base_layer(x, *args, **kwargs)  # type: ignore[no-any-return]
        prepared = [self._prepared(name) for name in active]
        if len(active) == 1 and self._can_fuse(x, active[0], prepared[0].plan, args, kwargs):
            return self._fused(active[0], x, prepared[0])
        result = self.base_layer(x, *args, **kwargs)
        dtype = result.dtype
        if self.quantization_backend is not None:
            result = self.quantization_backend.maybe_clone_base_result(result)
        for name, (A, B, transfer, plan) in zip(active, prepared, strict=True):
            adapted = self.lrlora_dropout[name](self._input_of_adapter(x, A.dtype))
            with torch.autocast(x.device.type, enabled=False):
                result = self.lrlora_engine[name].add_to(result, adapted, A, B, transfer, plan)
            self.lrlora_plan[name].watch(result)  # type: ignore[operator]
        return result.to(dtype)  # type: ignore[no-any-return]

    def _prepared(self, adapter: str) -> _Prepared:
        A, B = self.factors(adapter)
        transfer = self.transfer(adapter)
        return _Prepared(A, B, transfer, self.plan(adapter, A, B, transfer))

    def _fused(self, adapter: str, x: Tensor, prepared: _Prepared) -> Tensor:
        """Returns x (W + ΔW)ᵀ + b in one product."""
        base = self.get_base_layer()  # type: ignore[operator]  # PEFT is untyped here, so nn.Module answers for its methods
        weight = base.weight.T if self.fan_in_fan_out else base.weight
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        with torch.autocast(x.device.type, enabled=False):
            result = self.lrlora_engine[adapter].linear(x, weight, base.bias, *prepared)
        self.lrlora_plan[adapter].watch(result)  # type: ignore[operator]
        return result

    def _input_of_adapter(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns ``x`` in the dtype that its products with entries of ΔW are computed in."""
        if torch.is_autocast_enabled(x.device.type):
            return x.to(torch.get_autocast_dtype(x.device.type))
        # Not in float16, whose smallest numbers are not much smaller than entries of an update.
        return x if x.dtype == torch.bfloat16 else self._cast_input_dtype(x, dtype)  # type: ignore[operator]

    def _can_fuse(self, x: Tensor, adapter: str, plan: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether one product with W + ΔW is faster, and nobody can tell that the base layer is not called.

        Hooks, parametrisations such as an old weight_norm, and wrappers of ``forward`` such as those of offloading need
        the call. A weight in half precision is not added to: rounding the sum would lose what is small beside the
        weight. Under autocast the weight itself is rounded when it meets x, and the sum loses no more than that.
        """
        base = self.base_layer
        weight = getattr(base, "weight", None)
        return (
            self.lrlora_engine[adapter].prefers_weight(plan, x.shape[:-1].numel())
            and not args
            and not kwargs
            and type(base) in (nn.Linear, Conv1D)
            and "forward" not in vars(base)
            and not _is_hooked(base)
            and self.quantization_backend is None
            and not (self.training and isinstance(self.lrlora_dropout[adapter], nn.Dropout))
            and isinstance(weight, nn.Parameter)
            and weight.device == x.device
            and weight.dtype == self.held_factors(adapter)[0].dtype
            and weight.dtype in (torch.float32, torch.float64)
            and (weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type))
        )


def _is_hooked(module: nn.Module) -> bool:
    """Whether a hook would run if the module were called; as ``nn.Module.__call__`` decides it."""
    own = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    of_all = (
        hooks._global_forward_hooks,
        hooks._global_forward_pre_hooks,
        hooks._global_backward_hooks,
        hooks._global_backward_pre_hooks,
    )
    return any(own) or any(of_all)

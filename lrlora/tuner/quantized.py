"""Merging into quantised bases, through PEFT's backends.

The forward pass dequantises nothing: x ΔWᵀ is added to the layer's own output.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_quantization_kwargs, resolve_quantization_backend
from peft.utils.quantization_utils import ForwardOnlyQuantizationBackend, QuantizationBackend, TorchaoBackend
from torch import Tensor, nn

LIBRARIES = "bitsandbytes (8 and 4 bit), HQQ, torchao, and, without merging, AQLM, EETQ, GPTQ, AWQ and INC"
"""What PEFT has backends for."""

Kept = Tensor | tuple[nn.Module]
"""A base before a merge: its weight, or the whole layer if that is quantised, in a tuple so that it is no submodule."""


def backend_of(base: nn.Module, name: str, model: nn.Module) -> QuantizationBackend | None:
    """Returns how PEFT reads and writes the weight of a layer; None for a weight of plain numbers.

    Args:
        base: The layer.
        name: Its name, for the message.
        model: The model it is in, which may know how it was quantised.

    Raises:
        ValueError: The weight is not of plain numbers, and PEFT does not know the layer or lacks its library.
    """
    options = get_quantization_kwargs(model)
    # torchao's backend needs the way to quantise again, which only models have that transformers quantised. Without it
    # merging is not possible.
    known = "get_apply_tensor_subclass" in options
    backend = None
    if not isinstance(base, (nn.Embedding, nn.modules.conv._ConvNd)):  # PEFT has backends for linear layers alone
        backend = resolve_quantization_backend(base, **{"get_apply_tensor_subclass": nn.Identity, **options})
    if isinstance(backend, TorchaoBackend) and not known:
        return ForwardOnlyQuantizationBackend("torchao without a TorchAoConfig in from_pretrained")
    if backend is None and not _is_plain(base):
        kind = f"{type(base).__module__}.{type(base).__qualname__}"
        raise ValueError(
            f"target module {name!r} is a {kind}, whose weight is neither plain numbers nor known to PEFT; LR-LoRA "
            f"adapts layers that are not quantised, or by {LIBRARIES}, with the library installed. "
            "Dequantise the model, or name the module in exclude_modules"
        )
    return backend


def check_mergeable(layer: BaseTunerLayer) -> None:
    """Check that ΔW can be added to the weight of a layer.

    Raises:
        ValueError: Its weight cannot be read or written.
    """
    backend = layer.quantization_backend
    if backend is None:
        return
    if not backend.supports_merge:
        raise ValueError(
            f"nothing was merged: PEFT has no way to write a weight quantised by {backend.backend_name}. Keep the "
            "adapter beside the base, or merge it into the base as it was before quantisation"
        )
    if _is_repacked(layer.get_base_layer()):
        raise ValueError(
            "nothing was merged: bitsandbytes laid the 4-bit weight out anew for this processor when it was first "
            "evaluated, and PEFT cannot read that. Load the model again and merge before it is evaluated"
        )
    if layer.base_layer is not layer.get_base_layer():
        raise ValueError(
            f"nothing was merged: the weight, quantised by {backend.backend_name}, has an adapter of another method too"
        )


def keep(layer: BaseTunerLayer) -> Kept:
    """What :func:`put_back` needs. A copy: quantising anew changes more of a layer than its weight."""
    base: Any = layer.get_base_layer()
    if layer.quantization_backend is None:
        return base.weight.data.clone()  # type: ignore[no-any-return]
    return (copy.deepcopy(base),)


def put_back(layer: BaseTunerLayer, kept: Kept) -> None:
    """Undo what was merged since ``kept``, bit by bit: ΔW is not subtracted from a weight that was rounded with it."""
    if isinstance(kept, Tensor):
        base: Any = layer.get_base_layer()
        base.weight.data = kept.to(base.weight)  # the model may have been moved or cast in between
    else:
        layer.base_layer = kept[0]


def _is_repacked(base: nn.Module) -> bool:
    # On processors with AVX512-BF16. Saving packs it back, but leaves the scales of blocks transposed, as a matrix.
    state = getattr(getattr(base, "weight", None), "quant_state", None)
    scales = getattr(state, "absmax", None)
    return bool(getattr(state, "packing_format_for_cpu", False)) or (isinstance(scales, Tensor) and scales.dim() > 1)


def _is_plain(base: nn.Module) -> bool:
    weight = getattr(base, "weight", None)
    return (
        isinstance(weight, Tensor)
        and type(weight).__module__.partition(".")[0] == "torch"  # a subclass from elsewhere only looks like numbers
        and weight.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    )

"""How LoRA in PEFT writes the update of each kind of layer, and which updates it cannot write at all.

LR-LoRA's ΔW is one matrix for every kind of layer, ``(out, in)``: for an embedding ``(dim, tokens)``, for a convolution
``(out, in · kernel)``. LoRA's factors are two linear layers, two bare parameters, or two convolutions. A Conv1D of
GPT-2 stores its weight transposed, but not its factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lrlora.export.errors import ExportError
from lrlora.tuner import LRLoraLayer
from lrlora.tuner.convolution import CONVOLUTIONS

LINEAR_A, LINEAR_B = "lora_A.weight", "lora_B.weight"
EMBEDDING_A, EMBEDDING_B = "lora_embedding_A", "lora_embedding_B"


def check_expressible(name: str, layer: LRLoraLayer) -> None:
    """Check that LoRA can write the update of a layer, whatever its rank.

    Raises:
        ExportError: It cannot.
    """
    base = layer.get_base_layer()
    if isinstance(base, nn.Embedding) and base.max_norm is not None:
        raise ExportError(f"{name}: PEFT's LoRA renormalises its own factor of an embedding with max_norm; merge it")
    if isinstance(base, CONVOLUTIONS):
        for field, plain in (("groups", 1), ("dilation", (1,) * len(base.kernel_size)), ("padding_mode", "zeros")):
            if getattr(base, field) != plain:
                raise ExportError(
                    f"{name}: PEFT's LoRA cannot write the update of a {type(base).__name__} with "
                    f"{field}={getattr(base, field)!r}; merge instead"
                )


def lora_tensors(layer: LRLoraLayer, B: Tensor, A: Tensor) -> dict[str, Tensor]:
    """The factors as LoRA stores them for this kind of layer.

    Args:
        layer: What they are for.
        B: ``(out, r)``.
        A: ``(r, in)``.

    Returns:
        Tensors by the end of their key, behind the module's name.
    """
    base = layer.get_base_layer()
    if isinstance(base, nn.Embedding):
        return {EMBEDDING_A: A, EMBEDDING_B: B}
    if isinstance(base, CONVOLUTIONS):
        kernel = base.weight.shape[2:]
        return {LINEAR_A: A.view(len(A), -1, *kernel), LINEAR_B: B.view(*B.shape, *(1 for _ in kernel))}
    return {LINEAR_A: A, LINEAR_B: B}


@dataclass(frozen=True)
class LoraFactors:
    """The factors of one module in a LoRA checkpoint.

    Attributes:
        B: ``(out, r)``.
        A: ``(r, in)``.
        kernel: Size of the kernels, of a convolution.
        embedding: Whether the module is an embedding.
    """

    B: Tensor
    A: Tensor
    kernel: tuple[int, ...] = ()
    embedding: bool = False

    def empty_base(self) -> nn.Module:
        """A module of the kind and size that the factors are for, whose weight takes no memory."""
        with torch.device("meta"):
            if self.embedding:
                module: nn.Module = nn.Embedding(self.A.shape[1], self.B.shape[0])
            elif self.kernel:
                inside = self.A[0].numel() // math.prod(self.kernel)
                kind: Any = CONVOLUTIONS[len(self.kernel) - 1]
                module = kind(inside, self.B.shape[0], self.kernel, bias=False)
            else:
                module = nn.Linear(self.A.shape[1], self.B.shape[0], bias=False)
        weight = module.get_parameter("weight")
        module.register_parameter("weight", nn.Parameter(torch.zeros(1).expand(weight.shape), requires_grad=False))
        return module


def empty_layers(factors: Mapping[str, LoraFactors]) -> nn.Module:
    """A model of nothing but the modules of the factors, by their full names, whose weights take no memory."""
    model = nn.Module()
    for name, found in factors.items():
        *path, last = name.split(".")
        parent = model
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, found.empty_base())
    return model


def read_factors(name: str, tensors: Mapping[str, Tensor]) -> LoraFactors:
    """The factors of one module from the tensors behind its name.

    Raises:
        ExportError: They are not a pair that LoRA writes.
    """
    if set(tensors) == {EMBEDDING_A, EMBEDDING_B}:
        A, B, embedding = tensors[EMBEDDING_A], tensors[EMBEDDING_B], True
    elif set(tensors) == {LINEAR_A, LINEAR_B}:
        A, B, embedding = tensors[LINEAR_A], tensors[LINEAR_B], False
    else:
        raise ExportError(f"{name}: has {', '.join(sorted(tensors))}, where LoRA has {LINEAR_A} and {LINEAR_B}")
    kernel = tuple(A.shape[2:])
    if A.ndim < 2 or B.ndim != A.ndim or B.shape[1] != A.shape[0] or any(size != 1 for size in B.shape[2:]):
        raise ExportError(
            f"{name}: factors of shapes {tuple(B.shape)} and {tuple(A.shape)} are no product of rank "
            f"{A.shape[0] if A.ndim else 0}; LoRA in a convolution with groups cannot be taken over"
        )
    return LoraFactors(B.flatten(1), A.flatten(1), kernel, embedding)

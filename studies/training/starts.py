"""Starts of an adapter from updates that are known: the best approximation of each by the adapter's rank (SVD)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft.tuners.adalora.layer import AdaLoraLayer
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn.functional import pad

from lrlora.analysis.layers import PREFIX
from lrlora.studies.errors import StudyError
from lrlora.studies.kinds import Kind
from lrlora.tuner.layer import LRLoraLayer

_ADAPTER = "default"
WITH_FACTORS = ("lora", "rslora", "dora", "adalora", "lrlora")
"""Methods that can start from a matrix."""


def check_svd_start(kind: Kind, config: Mapping[str, Any], where: str) -> None:
    """Check that the updates that solve the task are known, and that the method has factors to start from.

    Args:
        kind: The task on the backbone.
        config: Of the method.
        where: The beginning of the message.

    Raises:
        StudyError: If not; one line.
    """
    if not kind.known_updates():
        raise StudyError(f"{where}: training.start=svd is for matrix and planted tasks, not for {kind.task.kind} tasks")
    method, start = config["method"], config.get("init_lora_weights")
    if method not in WITH_FACTORS or start in ("pissa", "olora"):
        found = f"method {method}" if method not in WITH_FACTORS else f"init_lora_weights={start}"
        raise StudyError(f"{where}: training.start=svd is for {', '.join(WITH_FACTORS)}, not for {found}")


@torch.no_grad()
def start_from_svd(model: nn.Module, updates: Mapping[str, Tensor]) -> None:
    """Set B and A of every adapted module to the best approximation of an update, with singular values split evenly.

    What other parameters there are keeps its start, except for DoRA's magnitudes, which become the norms of the rows.

    Args:
        model: The adapted model.
        updates: The updates by module, ``(out, in)``.
    """
    modules = ((name.removeprefix(PREFIX), module) for name, module in model.named_modules())
    for name, layer in modules:
        if name not in updates or not isinstance(layer, LoraLinear | AdaLoraLayer | LRLoraLayer):
            continue
        left, values, right = best_approximation(updates[name], layer.r[_ADAPTER])
        if isinstance(layer, AdaLoraLayer):
            scale = layer.scaling[_ADAPTER] / (layer.ranknum[_ADAPTER] + 1e-5)
            layer.lora_A[_ADAPTER].copy_(right)
            layer.lora_B[_ADAPTER].copy_(left)
            layer.lora_E[_ADAPTER].copy_(values[:, None] / scale)
            continue
        root = (values / layer.scaling[_ADAPTER]).sqrt()
        if isinstance(layer, LRLoraLayer):
            A, B = layer.held_factors(_ADAPTER)
        else:
            A, B = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
        A.copy_(root[:, None] * right)
        B.copy_(left * root)
        if _ADAPTER in getattr(layer, "lora_magnitude_vector", {}):
            weight = layer.get_base_layer().weight + layer.scaling[_ADAPTER] * (B @ A)
            layer.lora_magnitude_vector[_ADAPTER].weight.copy_(weight.norm(dim=1))


def best_approximation(update: Tensor, r: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the leading singular vectors and values of an update, filled up with zeros if r exceeds its size.

    Returns:
        Left vectors ``(out, r)``, values ``(r,)`` and right vectors ``(r, in)``, in float64.
    """
    left, values, right = torch.linalg.svd(update.double(), full_matrices=False)
    missing = max(0, r - len(values))
    return pad(left[:, :r], (0, missing)), pad(values[:r], (0, missing)), pad(right[:r], (0, 0, 0, missing))

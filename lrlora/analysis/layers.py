"""One report per adapted layer: the spectrum of ΔW, and whether φ was nonlinear on the entries of BA."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lrlora.analysis.curves import LINEAR_BELOW, TransferCurve, active_share, bending_scale, transfer_curve
from lrlora.analysis.linalg import (
    RESOLUTION,
    effective_rank,
    nonlinear_fraction,
    sampled_spectrum,
    singular_values,
    stable_rank,
)
from lrlora.analysis.updates import as_matrix, moves_the_weight, weight_update
from lrlora.policies.roles import depth_of, role_of
from lrlora.transfer import TransferFunction
from lrlora.tuner.layer import LRLoraLayer, layers_with

_SAMPLED = 4096
PREFIX = "base_model.model."
"""What PEFT puts before the names of the base model's modules."""


@dataclass(frozen=True)
class LayerReport:
    """The measures of one adapted layer. None means that the method has no such measure.

    Attributes:
        module: Full name of the module in the base model.
        role: ``q``, ``k``, ``v``, ``o``, ``gate``, ``up``, ``down``, ``qkv``, ``gate_up``; None if unknown.
        depth: Index of the transformer layer; None outside the layers.
        r: Rank of BA; for AdaLoRA the rank that is left; for other methods, what they call r.
        stable_rank: Of ΔW. None if ΔW depends on the pretrained weight and that was not given.
        nonlinear_fraction: ‖ΔW − c·BA‖_F / ‖ΔW‖_F at the best constant c; 0 for LoRA, None without a φ of BA.
        max_abs_z: max |s_in · BA|; for LoRA, max |BA|.
        outside_grid: Share of the entries of s_in · BA beyond the grid's bound; 0 for LoRA.
        evaluation: How the engine evaluates φ; for other methods, where ΔW was taken from.
        evaluation_error: Relative error of ΔW that the engine makes, on sampled entries; 0 for LoRA.
        effective_rank: Of ΔW; None if the stable rank is.
        spectrum: σ_k / σ_1 of ΔW at :data:`lrlora.analysis.SPECTRUM_AT`; None if the stable rank is.
        active_basis: Share of the basis functions with |a_i| of at least 1 % of the layer's largest; 0 if all
            amplitudes are zero, None without a φ.
        input_scale: s_in; None without a φ.
        bends_at: The input scale at which the nonlinear fraction would be 1 % with the present A, B and θ. None if it
            is reached already, if no scale reaches it, and without a φ.
        bends_by_a_tenth_at: The same for 10 %, in the same layers.
    """

    module: str
    role: str | None
    depth: int | None
    r: int | None
    stable_rank: float | None = None
    nonlinear_fraction: float | None = None
    max_abs_z: float | None = None
    outside_grid: float | None = None
    evaluation: str = ""
    evaluation_error: float | None = None
    effective_rank: float | None = None
    spectrum: tuple[float, ...] | None = None
    active_basis: float | None = None
    input_scale: float | None = None
    bends_at: float | None = None
    bends_by_a_tenth_at: float | None = None

    @property
    def is_linear(self) -> bool:
        """Returns whether there is a φ, and it does nothing that a constant factor does not."""
        return self.input_scale is not None and (self.nonlinear_fraction or 0.0) < LINEAR_BELOW


@torch.no_grad()
def layer_report(
    model: nn.Module, adapter_name: str = "default", pretrained: Callable[[], nn.Module] | None = None
) -> list[LayerReport]:
    """Reports on every layer that the adapter is in, of any PEFT method, or that was trained without an adapter.

    Args:
        model: An adapted model, or one whose own weights were trained.
        adapter_name: The adapter.
        pretrained: Makes the model as it was before training. It is called only if ΔW cannot be known otherwise: if the
            weights themselves were trained, or if the method changes them at the start, as PiSSA does. Without it the
            former are not reported, and the latter have no stable rank.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    return [_report(update, adapter_name, model_type) for update in _updates(model, adapter_name, pretrained)]


@torch.no_grad()
def stable_ranks(model: nn.Module, adapter_name: str = "default") -> dict[str, float]:
    """Returns the stable rank of ΔW by module, where ΔW is known without the pretrained weight.

    The values of :func:`layer_report` at a part of its cost, to be recorded during training.
    """
    updates = _updates(model, adapter_name, None)
    return {update.module: stable_rank(update.delta) for update in updates if update.delta is not None}


def layer_curves(
    model: nn.Module, adapter_name: str = "default", modules: Collection[str] | None = None
) -> dict[str, TransferCurve]:
    """Returns the curve of φ by module, of layers whose BA is finite and not zero.

    Args:
        model: An adapted model; methods other than LR-LoRA have no curves.
        adapter_name: The adapter.
        modules: Full names of the modules to look at; None for all.
    """
    curves = {}
    for name, layer in layers_with(model, adapter_name).items():
        name = name.removeprefix(PREFIX)
        if layer.r[adapter_name] > 0 and (modules is None or name in modules):
            A, B = factors_of(layer, adapter_name)
            product = B @ A
            if product.any() and product.isfinite().all():
                curves[name] = transfer_curve(product, layer.transfer(adapter_name))
    return curves


def factors_of(layer: LRLoraLayer, adapter_name: str) -> tuple[Tensor, Tensor]:
    """Returns A, ``(r, in)``, and B, ``(out, r)``, in float32 at least and without a gradient."""
    A, B = layer.factors(adapter_name)
    return A.detach(), B.detach()


@dataclass(frozen=True)
class _Update:
    """ΔW of one layer, ``(out, in)``, None if unknown; and BA, if ΔW is a function of it, with the layer that has φ."""

    module: str
    r: int | None
    delta: Tensor | None
    source: str
    product: Tensor | None = None
    layer: LRLoraLayer | None = None


def _updates(model: nn.Module, adapter_name: str, pretrained: Callable[[], nn.Module] | None) -> Iterator[_Update]:
    config = getattr(model, "peft_config", {}).get(adapter_name)
    moved = config is not None and moves_the_weight(config)
    trained = {} if config is not None else _trained_weights(model)
    before = pretrained() if pretrained is not None and (moved or trained) else None
    for name, module in model.named_modules():
        name = name.removeprefix(PREFIX)
        original = None if before is None else _weight_of(before, name)
        if isinstance(module, LRLoraLayer):
            if adapter_name in module.r:
                A, B = factors_of(module, adapter_name)
                delta = module.delta_matrix(adapter_name).float()
                yield _Update(name, module.r[adapter_name], delta, "", (B @ A).float(), module)
        elif isinstance(module, LoraLayer) and not moved and _is_plain(module, adapter_name):
            product = (module.lora_B[adapter_name].weight @ module.lora_A[adapter_name].weight).float()
            yield _Update(name, module.r[adapter_name], product, "product", product)
        elif isinstance(module, BaseTunerLayer):
            if any(adapter_name in getattr(module, part, {}) for part in module.adapter_layer_names):
                update = None if moved and original is None else weight_update(module, adapter_name, original)
                yield _Update(name, _rank_left(module, name, adapter_name, config), update, "merged − base")
        elif name in trained and original is not None:
            update = as_matrix(module, trained[name] - original.to(trained[name]))
            yield _Update(name, None, update, "trained − pretrained")


def _report(update: _Update, adapter_name: str, model_type: str | None) -> LayerReport:
    delta, product, layer = update.delta, update.product, update.layer
    found: dict[str, Any] = {}
    if delta is not None:
        sigma = singular_values(delta, RESOLUTION)
        found["stable_rank"], found["effective_rank"] = stable_rank(sigma), effective_rank(sigma)
        found["spectrum"] = sampled_spectrum(sigma)
    if product is not None and layer is None:
        found["max_abs_z"] = float(product.abs().max())
        found |= dict.fromkeys(("nonlinear_fraction", "outside_grid", "evaluation_error"), 0.0)
    if layer is not None and delta is not None and product is not None:
        found |= _of_transfer(layer, adapter_name, delta, product)
    place = (update.module, role_of(update.module, model_type), depth_of(update.module))
    return LayerReport(*place, update.r, **{"evaluation": update.source, **found})


def _of_transfer(layer: LRLoraLayer, adapter_name: str, delta: Tensor, product: Tensor) -> dict[str, Any]:
    A, B = factors_of(layer, adapter_name)
    transfer = layer.transfer(adapter_name)
    z = transfer.input_scale * product
    fraction = nonlinear_fraction(delta, product)
    linear = fraction < LINEAR_BELOW
    return {
        "nonlinear_fraction": fraction,
        "max_abs_z": float(z.abs().max()),
        "outside_grid": float((z.abs() > layer.lrlora_config[adapter_name].grid_bound).float().mean()),
        "evaluation": layer.describe_evaluation(adapter_name),
        "evaluation_error": _evaluation_error(delta, A, B, transfer),
        "active_basis": active_share(transfer.amplitude),
        "input_scale": transfer.input_scale,
        "bends_at": bending_scale(product, transfer, LINEAR_BELOW) if linear else None,
        "bends_by_a_tenth_at": bending_scale(product, transfer, 10 * LINEAR_BELOW) if linear else None,
    }


def _evaluation_error(delta: Tensor, A: Tensor, B: Tensor, transfer: TransferFunction) -> float:
    """Against the definition in float64, at entries spread evenly over ΔW."""
    place = torch.linspace(0, delta.numel() - 1, min(_SAMPLED, delta.numel()), device=delta.device).long()
    row, column = place // delta.shape[1], place % delta.shape[1]
    z = transfer.input_scale * (B.double()[row] * A.double().T[column]).sum(1)
    exact = transfer.output_scale * transfer.to(torch.float64)(z)
    size = float(exact.norm())
    return float((delta[row, column].double() - exact).norm()) / size if size > 0 else 0.0


def _is_plain(module: LoraLayer, adapter_name: str) -> bool:
    """Whether ΔW is a multiple of BA: LoRA and rsLoRA on linear layers, not DoRA or AdaLoRA."""
    matrices = getattr(module, "lora_A", {})
    return (
        adapter_name in matrices
        and isinstance(matrices[adapter_name], nn.Linear)
        and adapter_name not in getattr(module, "lora_variant", {})
    )


def _rank_left(module: BaseTunerLayer, name: str, adapter_name: str, config: object) -> int | None:
    pattern = getattr(config, "rank_pattern", None) or {}
    for key in (f"{name}.lora_E.{adapter_name}", f"{name}.lora_E"):  # AdaLoRA's masks of the ranks that are left
        if key in pattern:
            return int(sum(pattern[key]))
    ranks = getattr(module, "r", {})
    return ranks.get(adapter_name) if isinstance(ranks, dict) else None


def _trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that are trained themselves, of modules with a role, by name."""
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    return {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module.weight.requires_grad and role_of(name, model_type)
    }


def _weight_of(model: nn.Module, name: str) -> Tensor | None:
    try:
        weight = getattr(model.get_submodule(name), "weight", None)
    except AttributeError:  # a module that only the adapted model has
        return None
    return weight if isinstance(weight, Tensor) else None

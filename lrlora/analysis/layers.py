"""One line per adapted layer: what it learned, and whether its nonlinearity was ever in play."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lrlora.analysis.spectrum import nonlinear_fraction, stable_rank
from lrlora.analysis.updates import as_matrix, moves_the_weight, weight_update
from lrlora.policies.roles import depth_of, role_of
from lrlora.transfer import TransferFunction
from lrlora.tuner.layer import LRLoraLayer


@dataclass(frozen=True)
class LayerReport:
    """What one adapted layer came to. None stands where a quantity has no meaning for the method.

    Attributes:
        module: Full name of the module in the base model.
        role: ``q``, ``k``, ``v``, ``o``, ``gate``, ``up``, ``down``, ``qkv``, ``gate_up``; None where not known.
        depth: Index of its layer; None outside the layers.
        r: Rank of BA; of AdaLoRA what is left of it; of other methods, what they call r.
        stable_rank: Of ΔW. None where ΔW cannot be known, since the pretrained weight is needed and not given.
        nonlinear_fraction: ‖ΔW − c·BA‖_F / ‖ΔW‖_F at the best c; 0 for LoRA, None without a φ of BA.
        max_abs_z: max |s_in · BA|; for LoRA, max |BA|.
        outside_grid: Fraction of the entries of s_in · BA beyond the grid's bound; 0 for LoRA.
        evaluation: What the engine does there; for other methods, where ΔW was taken from.
        evaluation_error: Relative error of ΔW that it makes, measured on a sample of the entries; 0 for LoRA.
    """

    module: str
    role: str | None
    depth: int | None
    r: int | None
    stable_rank: float | None
    nonlinear_fraction: float | None
    max_abs_z: float | None
    outside_grid: float | None
    evaluation: str
    evaluation_error: float | None


@torch.no_grad()
def layer_report(
    model: nn.Module, adapter_name: str = "default", pretrained: Callable[[], nn.Module] | None = None
) -> list[LayerReport]:
    """Report on every layer that the adapter is in, whatever PEFT method it is of; or that was trained without one.

    Takes the eigenvalues of a Gram matrix per layer: milliseconds at a width of hundreds, seconds at thousands.

    Args:
        model: An adapted model, or one whose own weights were trained.
        adapter_name: The adapter.
        pretrained: Makes the model as it was before. Called only where ΔW cannot be told without it: where the
            weights themselves were trained, and where the adapter's start moved them, as PiSSA's does. Without it the
            first are not reported, and the second have no stable rank.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    config = getattr(model, "peft_config", {}).get(adapter_name)
    moved = config is not None and moves_the_weight(config)
    trained = {} if config is not None else _trained_weights(model, model_type)
    before = pretrained() if pretrained is not None and (moved or trained) else None
    reports = []
    for name, module in model.named_modules():
        name = name.removeprefix("base_model.model.")
        place = (name, role_of(name, model_type), depth_of(name))
        original = None if before is None else _weight_of(before, name)
        if isinstance(module, LRLoraLayer):
            if adapter_name in module.lrlora_A:
                reports.append(_of_lrlora(place, module, adapter_name))
        elif isinstance(module, LoraLayer) and not moved and _is_plain(module, adapter_name):
            reports.append(_of_lora(place, module, adapter_name))
        elif isinstance(module, BaseTunerLayer):
            if _holds(module, adapter_name):
                rank = None
                if original is not None or not moved:
                    rank = stable_rank(weight_update(module, adapter_name, original))
                reports.append(_of_matrix(place, _rank_left(module, name, adapter_name, config), rank, "merged − base"))
        elif name in trained and original is not None:
            delta = as_matrix(module, trained[name] - original.to(trained[name]))
            reports.append(_of_matrix(place, None, stable_rank(delta), "trained − pretrained"))
    return reports


_Place = tuple[str, str | None, int | None]
"""Name, role and depth of a module."""


def _of_lrlora(place: _Place, module: LRLoraLayer, adapter_name: str) -> LayerReport:
    A, B = module.lrlora_A[adapter_name], module.lrlora_B[adapter_name]
    product = (B @ A).float()
    delta = module.get_delta_weight(adapter_name)
    delta = (delta.T if module.fan_in_fan_out else delta).float()
    transfer = module.transfer(adapter_name)
    z = transfer.input_scale * product
    return LayerReport(
        *place,
        r=module.r[adapter_name],
        stable_rank=stable_rank(delta),
        nonlinear_fraction=nonlinear_fraction(delta, product),
        max_abs_z=float(z.abs().max()),
        outside_grid=float((z.abs() > module.lrlora_config[adapter_name].grid_bound).float().mean()),
        evaluation=module.lrlora_engine[adapter_name].describe(A, B, transfer),
        evaluation_error=_evaluation_error(delta, A, B, transfer),
    )


def _of_lora(place: _Place, module: LoraLayer, adapter_name: str) -> LayerReport:
    product = (module.lora_B[adapter_name].weight @ module.lora_A[adapter_name].weight).float()
    return LayerReport(
        *place,
        r=module.r[adapter_name],
        stable_rank=stable_rank(product),
        nonlinear_fraction=0.0,
        max_abs_z=float(product.abs().max()),
        outside_grid=0.0,
        evaluation="product",
        evaluation_error=0.0,
    )


def _of_matrix(place: _Place, r: int | None, rank: float | None, evaluation: str) -> LayerReport:
    return LayerReport(*place, r, rank, None, None, None, evaluation, None)


def _is_plain(module: LoraLayer, adapter_name: str) -> bool:
    """Whether ΔW is a multiple of BA: LoRA and rsLoRA on linear layers, not DoRA or AdaLoRA."""
    matrices = getattr(module, "lora_A", {})
    return (
        adapter_name in matrices
        and isinstance(matrices[adapter_name], nn.Linear)
        and adapter_name not in getattr(module, "lora_variant", {})
    )


def _holds(module: BaseTunerLayer, adapter_name: str) -> bool:
    return any(adapter_name in getattr(module, name, {}) for name in module.adapter_layer_names)


def _rank_left(module: BaseTunerLayer, name: str, adapter_name: str, config: object) -> int | None:
    pattern = getattr(config, "rank_pattern", None) or {}
    for key in (f"{name}.lora_E.{adapter_name}", f"{name}.lora_E"):  # AdaLoRA's, with a mask of the ranks that are left
        if key in pattern:
            return int(sum(pattern[key]))
    found = getattr(module, "r", {})
    return found.get(adapter_name) if isinstance(found, dict) else None


def _trained_weights(model: nn.Module, model_type: str | None) -> dict[str, Tensor]:
    """By name, the weights of modules with a role that are trained themselves."""
    return {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module.weight.requires_grad and role_of(name, model_type)
    }


def _weight_of(model: nn.Module, name: str) -> Tensor | None:
    try:
        weight = getattr(model.get_submodule(name), "weight", None)
    except AttributeError:  # a module of the adapter's own
        return None
    return weight if isinstance(weight, Tensor) else None


SAMPLED = 4096


def _evaluation_error(delta: Tensor, A: Tensor, B: Tensor, transfer: TransferFunction) -> float:
    """Against the definition in float64, at entries spread over ΔW."""
    place = torch.linspace(0, delta.numel() - 1, min(SAMPLED, delta.numel()), device=delta.device).long()
    row, column = place // delta.shape[1], place % delta.shape[1]
    z = transfer.input_scale * (B.double()[row] * A.double().T[column]).sum(1)
    exact = transfer.output_scale * transfer.to(torch.float64)(z)
    size = float(exact.norm())
    return float((delta[row, column].double() - exact).norm()) / size if size > 0 else 0.0

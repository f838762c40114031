"""One line per adapted layer: what it learned, and whether its nonlinearity was ever in play."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lrlora.analysis.bending import STRAIGHT_LINE, bending_scale
from lrlora.analysis.curves import TransferCurve, active_share, transfer_curve
from lrlora.analysis.spectrum import (
    effective_rank_of,
    nonlinear_fraction,
    relative_spectrum,
    sampled_spectrum,
    stable_rank,
    stable_rank_of,
)
from lrlora.analysis.updates import as_matrix, moves_the_weight, weight_update
from lrlora.policies.roles import depth_of, role_of
from lrlora.transfer import TransferFunction
from lrlora.tuner.layer import LRLoraLayer, layers_with


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
        effective_rank: Of ΔW; None where the stable rank is.
        spectrum: σ_k / σ_1 of ΔW at the relative indices :data:`lrlora.analysis.SPECTRUM_AT`; None likewise.
        active_basis: Share of the basis functions with |a_i| of at least 1 % of the layer's largest; 0 where no
            amplitude has moved from zero, None without a φ.
        input_scale: s_in; None without a φ.
        bends_at: The input scale at which the nonlinear fraction would be 1 % with the present A, B and θ. None
            where it is as much already, where no scale would do it, and without a φ.
        bends_by_a_tenth_at: That for 10 %, in the same layers.
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
    effective_rank: float | None = None
    spectrum: tuple[float, ...] | None = None
    active_basis: float | None = None
    input_scale: float | None = None
    bends_at: float | None = None
    bends_by_a_tenth_at: float | None = None

    @property
    def is_straight_line(self) -> bool:
        """Whether there is a φ, and it did nothing that a constant factor does not."""
        return self.input_scale is not None and (self.nonlinear_fraction or 0.0) < STRAIGHT_LINE


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
                update = weight_update(module, adapter_name, original) if original is not None or not moved else None
                rank_left = _rank_left(module, name, adapter_name, config)
                reports.append(_of_matrix(place, rank_left, update, "merged − base"))
        elif name in trained and original is not None:
            delta = as_matrix(module, trained[name] - original.to(trained[name]))
            reports.append(_of_matrix(place, None, delta, "trained − pretrained"))
    return reports


@torch.no_grad()
def stable_ranks(model: nn.Module, adapter_name: str = "default") -> dict[str, float]:
    """The stable rank of ΔW by module, of every layer where it can be told without the pretrained weight.

    What :func:`layer_report` says of them, at a part of its cost: for looks at a run that goes on.
    """
    config = getattr(model, "peft_config", {}).get(adapter_name)
    if config is None or moves_the_weight(config):
        return {}
    ranks = {}
    for name, module in model.named_modules():
        name = name.removeprefix("base_model.model.")
        if isinstance(module, LRLoraLayer):
            if adapter_name in module.lrlora_A:
                ranks[name] = stable_rank(module.delta_matrix(adapter_name))
        elif isinstance(module, LoraLayer) and _is_plain(module, adapter_name):
            ranks[name] = stable_rank(_product(module, adapter_name))
        elif isinstance(module, BaseTunerLayer) and _holds(module, adapter_name):
            ranks[name] = stable_rank(weight_update(module, adapter_name))
    return ranks


def layer_curves(
    model: nn.Module, adapter_name: str = "default", modules: Collection[str] | None = None
) -> dict[str, TransferCurve]:
    """The curve of φ in every layer that has one, by module.

    A layer is left out whose BA is zero, as before the first step, or not finite.

    Args:
        model: An adapted model; of other methods than LR-LoRA there is nothing to tell.
        adapter_name: The adapter.
        modules: Full names of the modules to look at; None for all.
    """
    curves = {}
    for name, module in layers_with(model, adapter_name).items():
        name = name.removeprefix("base_model.model.")
        if module.r[adapter_name] > 0 and (modules is None or name in modules):
            A, B = module.wide_factors(adapter_name)
            product = B.detach() @ A.detach()
            if product.any() and product.isfinite().all():
                curves[name] = transfer_curve(product, module.transfer(adapter_name))
    return curves


_Place = tuple[str, str | None, int | None]
"""Name, role and depth of a module."""


def _of_lrlora(place: _Place, module: LRLoraLayer, adapter_name: str) -> LayerReport:
    A, B = module.lrlora_A[adapter_name], module.lrlora_B[adapter_name]
    product = (B @ A).float()
    delta = module.delta_matrix(adapter_name).float()
    transfer = module.transfer(adapter_name)
    z = transfer.input_scale * product
    sigma = relative_spectrum(delta)
    fraction = nonlinear_fraction(delta, product)
    straight = fraction < STRAIGHT_LINE
    return LayerReport(
        *place,
        r=module.r[adapter_name],
        stable_rank=stable_rank_of(sigma),
        nonlinear_fraction=fraction,
        max_abs_z=float(z.abs().max()),
        outside_grid=float((z.abs() > module.lrlora_config[adapter_name].grid_bound).float().mean()),
        evaluation=module.lrlora_engine[adapter_name].describe(A, B, transfer),
        evaluation_error=_evaluation_error(delta, A, B, transfer),
        effective_rank=effective_rank_of(sigma),
        spectrum=sampled_spectrum(sigma),
        active_basis=active_share(transfer.amplitude),
        input_scale=transfer.input_scale,
        bends_at=bending_scale(product, transfer, STRAIGHT_LINE) if straight else None,
        bends_by_a_tenth_at=bending_scale(product, transfer, 10 * STRAIGHT_LINE) if straight else None,
    )


def _of_lora(place: _Place, module: LoraLayer, adapter_name: str) -> LayerReport:
    product = _product(module, adapter_name)
    sigma = relative_spectrum(product)
    return LayerReport(
        *place,
        r=module.r[adapter_name],
        stable_rank=stable_rank_of(sigma),
        nonlinear_fraction=0.0,
        max_abs_z=float(product.abs().max()),
        outside_grid=0.0,
        evaluation="product",
        evaluation_error=0.0,
        effective_rank=effective_rank_of(sigma),
        spectrum=sampled_spectrum(sigma),
    )


def _of_matrix(place: _Place, r: int | None, delta: Tensor | None, evaluation: str) -> LayerReport:
    if delta is None:
        return LayerReport(*place, r, None, None, None, None, evaluation, None)
    sigma = relative_spectrum(delta)
    return LayerReport(
        *place,
        r,
        stable_rank_of(sigma),
        None,
        None,
        None,
        evaluation,
        None,
        effective_rank=effective_rank_of(sigma),
        spectrum=sampled_spectrum(sigma),
    )


def _product(module: LoraLayer, adapter_name: str) -> Tensor:
    product: Tensor = module.lora_B[adapter_name].weight @ module.lora_A[adapter_name].weight
    return product.float()


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

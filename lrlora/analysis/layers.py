"""One line per adapted layer: what it learned, and whether its nonlinearity was ever in play."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from lrlora.analysis.spectrum import nonlinear_fraction, stable_rank
from lrlora.policies.roles import depth_of, role_of
from lrlora.transfer import TransferFunction
from lrlora.tuner.layer import LRLoraLayer


@dataclass(frozen=True)
class LayerReport:
    """What one adapted layer came to.

    Attributes:
        module: Full name of the module in the base model.
        role: ``q``, ``k``, ``v``, ``o``, ``gate``, ``up``, ``down``, ``qkv``, ``gate_up``; None where not known.
        depth: Index of its layer; None outside the layers.
        r: Rank of BA.
        stable_rank: Of ΔW.
        nonlinear_fraction: ‖ΔW − c·BA‖_F / ‖ΔW‖_F at the best c; 0 for LoRA.
        max_abs_z: max |s_in · BA|; for LoRA, max |BA|.
        outside_grid: Fraction of the entries of s_in · BA beyond the grid's bound; 0 for LoRA.
        evaluation: What the engine does there.
        evaluation_error: Relative error of ΔW that it makes, measured on a sample of the entries; 0 for LoRA.
    """

    module: str
    role: str | None
    depth: int | None
    r: int
    stable_rank: float
    nonlinear_fraction: float
    max_abs_z: float
    outside_grid: float
    evaluation: str
    evaluation_error: float


@torch.no_grad()
def layer_report(model: nn.Module, adapter_name: str = "default") -> list[LayerReport]:
    """Report on every layer that the adapter is in; works for LR-LoRA and for PEFT's LoRA, not for other methods.

    Takes the eigenvalues of a Gram matrix per layer: milliseconds at a width of hundreds, seconds at thousands.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    reports = []
    for name, module in model.named_modules():
        name = name.removeprefix("base_model.model.")
        if isinstance(module, LRLoraLayer) and adapter_name in module.lrlora_A:
            product = (module.lrlora_B[adapter_name] @ module.lrlora_A[adapter_name]).float()
            delta = module.get_delta_weight(adapter_name)
            delta = (delta.T if module.fan_in_fan_out else delta).float()
            transfer = module.transfer(adapter_name)
            z = transfer.input_scale * product
            A, B = module.lrlora_A[adapter_name], module.lrlora_B[adapter_name]
            reports.append(
                _report(
                    name,
                    model_type,
                    module.r[adapter_name],
                    delta,
                    product,
                    float(z.abs().max()),
                    float((z.abs() > module.lrlora_config[adapter_name].grid_bound).float().mean()),
                    module.lrlora_engine[adapter_name].describe(A, B, transfer),
                    _evaluation_error(delta, A, B, transfer),
                )
            )
        elif isinstance(module, LoraLayer) and adapter_name in module.lora_A:
            product = (module.lora_B[adapter_name].weight @ module.lora_A[adapter_name].weight).float()
            biggest = float(product.abs().max())
            reports.append(
                _report(name, model_type, module.r[adapter_name], product, product, biggest, 0.0, "product", 0.0)
            )
    return reports


SAMPLED = 4096


def _evaluation_error(delta: Tensor, A: Tensor, B: Tensor, transfer: TransferFunction) -> float:
    """Against the definition in float64, at entries spread over ΔW."""
    place = torch.linspace(0, delta.numel() - 1, min(SAMPLED, delta.numel()), device=delta.device).long()
    row, column = place // delta.shape[1], place % delta.shape[1]
    z = transfer.input_scale * (B.double()[row] * A.double().T[column]).sum(1)
    exact = transfer.output_scale * transfer.to(torch.float64)(z)
    size = float(exact.norm())
    return float((delta[row, column].double() - exact).norm()) / size if size > 0 else 0.0


def _report(
    name: str,
    model_type: str | None,
    r: int,
    delta: Tensor,
    product: Tensor,
    max_abs_z: float,
    outside: float,
    evaluation: str,
    evaluation_error: float,
) -> LayerReport:
    return LayerReport(
        module=name,
        role=role_of(name, model_type),
        depth=depth_of(name),
        r=r,
        stable_rank=stable_rank(delta),
        nonlinear_fraction=nonlinear_fraction(delta, product),
        max_abs_z=max_abs_z,
        outside_grid=outside,
        evaluation=evaluation,
        evaluation_error=evaluation_error,
    )

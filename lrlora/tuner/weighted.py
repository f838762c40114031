"""Several adapters combined into a new one, on their updates: Σ w_i ΔW_i.

Since φ is not linear, sums of A and of B, as for LoRA, would give another update. The sum of the updates is truncated
by singular values to an adapter whose φ starts linear and can be trained further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from peft.tuners.tuners_utils import BaseTuner

from lrlora.analysis.linalg import Truncation
from lrlora.tuner.layer import LRLoraLayer


@torch.no_grad()
def add_weighted_adapter(
    tuner: BaseTuner,
    adapters: Sequence[str],
    weights: Sequence[float],
    adapter_name: str,
    combination_type: str = "svd",
    svd_rank: int | None = None,
) -> dict[str, float]:
    """Add an adapter whose update is Σ w_i ΔW_i, up to truncation. It is neither active nor trained.

    Args:
        tuner: The model.
        adapters: Names of the adapters to combine.
        weights: w, of either sign.
        adapter_name: Of the new one.
        combination_type: Only ``"svd"``.
        svd_rank: Rank of the new one; None: the largest of the adapters'. φ(BA) has a higher rank than r, so look at
            the errors.

    Returns:
        By module, the relative error of the truncation in the Frobenius norm.

    Raises:
        ValueError: The names, weights or combination type are not valid, an update is not finite, or an adapter has
            modules_to_save. Nothing was added.
    """
    _check(tuner, adapters, weights, adapter_name, combination_type)
    layers = {name: module for name, module in tuner.model.named_modules() if isinstance(module, LRLoraLayer)}
    ranks = [r for name in adapters for layer in layers.values() if (r := layer.r.get(name))]
    rank = svd_rank or max(ranks, default=1)
    if rank < 1:
        raise ValueError(f"svd_rank must be >= 1, got {svd_rank}")

    sums: dict[str, torch.Tensor] = {}
    for module, layer in layers.items():
        for name, weight in zip(adapters, weights, strict=True):
            if name in layer.r:
                update = weight * layer.delta_matrix(name).float()
                sums[module] = sums[module] + update if module in sums else update
    broken = [module for module, total in sums.items() if not total.isfinite().all()]
    if broken:
        raise ValueError(f"the update of {broken[0]} is not finite; nothing was added")
    highest = {module: min(rank, *total.shape) for module, total in sums.items()}

    tuner.peft_config[adapter_name] = replace(
        tuner.peft_config[adapters[0]],
        r=rank,
        lora_alpha=float(rank),
        rank_pattern={f"^{module}": r for module, r in highest.items() if r != rank},
        alpha_pattern={f"^{module}": float(r) for module, r in highest.items() if r != rank},
        target_modules=set(sums),
        exclude_modules=None,
        layers_to_transform=None,
        layers_pattern=None,
        placement="all",
        layers="all",
        rank_allocation="uniform",
        sharing="none",
        # φ(z) = z at the start, with amplitudes that can be trained.
        preset="default",
        residual=True,
        centered=True,
        amplitude_init="zero",
        init_weights=True,
    )
    tuner.inject_adapter(tuner.model, adapter_name)
    errors = {}
    for module, total in sums.items():
        layer = layers[module]
        found = Truncation(total).factors(highest[module])
        A, B = layer.held_factors(adapter_name)
        B.copy_(found.B)
        A.copy_(found.A)
        errors[module] = found.error
    tuner.set_requires_grad(adapter_name, requires_grad=False)
    return errors


def _check(
    tuner: BaseTuner, adapters: Sequence[str], weights: Sequence[float], adapter_name: str, combination_type: str
) -> None:
    unknown = [f" {name!r}" for name in adapters if name not in tuner.peft_config]
    if unknown or not adapters:
        what = unknown[0] if unknown else " to combine"
        raise ValueError(f"there is no adapter{what} (there are: {', '.join(map(repr, tuner.peft_config))})")
    if len(weights) != len(adapters):
        raise ValueError(f"{len(adapters)} adapters take as many weights, not {len(weights)}")
    if adapter_name in tuner.peft_config:
        raise ValueError(f"there is an adapter {adapter_name!r} already")
    if combination_type != "svd":
        raise ValueError(
            f"combination_type={combination_type!r} is not there: adapters with a nonlinear φ are combined on their "
            "updates, by 'svd'"
        )
    saving = [name for name in adapters if tuner.peft_config[name].modules_to_save]
    if saving:
        raise ValueError(f"adapter {saving[0]!r} has modules_to_save, which cannot be combined")

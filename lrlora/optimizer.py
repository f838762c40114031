"""Parameter groups: θ trains at a learning rate of its own."""

from __future__ import annotations

from typing import Any

from torch import nn

from lrlora.tuner.layer import LRLoraLayer

THETA = ("lrlora_amplitude", "lrlora_bandwidth", "lrlora_grid")


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float = 0.0, transfer_lr_scale: float | None = None
) -> list[dict[str, Any]]:
    """Groups for a ``torch.optim`` optimizer over all trainable parameters of a model.

    For a model without LR-LoRA adapters it is one group, so that a baseline can go through the same call:
    ``torch.optim.AdamW(parameter_groups(model, lr=1e-3))``.

    Args:
        model: Any model, adapted by PEFT or not.
        lr: Learning rate of everything but θ.
        weight_decay: Of everything but θ, which is not decayed: at zero it means LoRA only where ``residual`` is set.
        transfer_lr_scale: Learning rate of θ as a fraction of ``lr``; None for what the adapter's config says.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay`` and ``name``: ``"adapter"``, and ``"transfer"`` per scale.
    """
    scale_of: dict[int, float] = {}
    for module in model.modules():
        if isinstance(module, LRLoraLayer):
            for part in THETA:
                for adapter, theta in getattr(module, part).items():
                    scale = module.lrlora_config[adapter].transfer_lr_scale
                    assert scale is not None  # filled by the preset
                    scale_of[id(theta.weight)] = scale if transfer_lr_scale is None else transfer_lr_scale
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "name": "adapter",
            "params": [parameter for parameter in trainable if id(parameter) not in scale_of],
            "lr": lr,
            "weight_decay": weight_decay,
        }
    ]
    for scale in sorted(set(scale_of.values())):
        theta = [parameter for parameter in trainable if scale_of.get(id(parameter)) == scale]
        groups.append({"name": "transfer", "params": theta, "lr": lr * scale, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]

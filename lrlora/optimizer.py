"""Parameter groups: learning rates and weight decay of the parts of an adapter.

θ has a learning rate of its own, since every entry of ΔW depends on it, and is not decayed. :func:`parameter_groups` is
for plain loops, :func:`trainer_optimizer` for the ``Trainer`` of transformers and those of TRL.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from lrlora.bases.options import number
from lrlora.tuner.layer import LRLoraLayer

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import TrainingArguments

_B = re.compile(r"(^|\.)(lr)?lora_(embedding_)?B(\.|$)")
"""A name with this in it is that of a matrix B, ours or one of PEFT's LoRA."""


class _Group(NamedTuple):
    """The key of a group. The order of groups is fixed, so that a saved optimizer state fits."""

    order: int
    name: str
    lr: float
    weight_decay: float


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float = 0.0,
    transfer_lr_scale: float | None = None,
    *,
    loraplus_lr_ratio: float = 1.0,
    amplitude_weight_decay: float = 0.0,
) -> list[dict[str, Any]]:
    """Returns groups for a ``torch.optim`` optimizer over all trainable parameters of a model, each in exactly one.

    ``torch.optim.AdamW(parameter_groups(model, lr=1e-3))`` works for models without LR-LoRA adapters too.

    ``weight_decay`` leaves out θ, and vectors outside of adapters (biases, gains of norms), as in ``Trainer``. The
    parameters of bandwidths and of a learned grid are logarithms, so decay would pull ω and the gaps towards 1.
    Amplitudes of zero mean LoRA if ``residual`` is set; ``amplitude_weight_decay`` pulls towards that.

    Args:
        model: Any model. Parameters that do not require a gradient are left out; ``modules_to_save`` are included.
        lr: Learning rate of all but θ and, with ``loraplus_lr_ratio``, B.
        weight_decay: Of A, B and the matrices that are trained beside the adapter.
        transfer_lr_scale: Learning rate of θ as a fraction of ``lr``; None: as each adapter's config says.
        loraplus_lr_ratio: Learning rate of B as a multiple of ``lr``: LoRA+ (Hayou et al. 2024).
        amplitude_weight_decay: Of the amplitudes alone.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay`` and ``name``: ``"adapter"``; ``"B"``, if the ratio is not 1;
        ``"undecayed"``, if anything decays; ``"amplitude"``, if it decays; ``"transfer"``, the rest of θ. The last two
        occur once for each learning rate of θ.

    Raises:
        ValueError: Nothing is trainable, or a rate or a decay is negative.
    """
    for what, value in (
        ("lr", lr),
        ("weight_decay", weight_decay),
        ("transfer_lr_scale", transfer_lr_scale or 0.0),
        ("amplitude_weight_decay", amplitude_weight_decay),
    ):
        number(what, value, least=0)
    number("loraplus_lr_ratio", loraplus_lr_ratio, above=0)
    theta = _theta(model)
    found: dict[_Group, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():  # which has a shared one once
        if not parameter.requires_grad:
            continue
        if id(parameter) in theta:
            part, scale = theta[id(parameter)]
            rate = lr * (scale if transfer_lr_scale is None else transfer_lr_scale)
            if part == "lrlora_amplitude" and amplitude_weight_decay > 0:
                group = _Group(3, "amplitude", rate, amplitude_weight_decay)
            else:
                group = _Group(4, "transfer", rate, 0.0)
        elif loraplus_lr_ratio != 1 and _B.search(name):
            group = _Group(1, "B", lr * loraplus_lr_ratio, weight_decay)
        elif weight_decay > 0 and parameter.ndim < 2:
            group = _Group(2, "undecayed", lr, 0.0)
        else:
            group = _Group(0, "adapter", lr, weight_decay)
        found.setdefault(group, []).append(parameter)
    if not found:
        raise ValueError(
            f"no parameter of this {type(model).__name__} requires a gradient; an adapter that was loaded trains with "
            "PeftModel.from_pretrained(..., is_trainable=True), one of several after model.set_adapter(name)"
        )
    return [
        {"name": group.name, "params": params, "lr": group.lr, "weight_decay": group.weight_decay}
        for group, params in sorted(found.items(), key=lambda item: item[0])
    ]


def trainer_optimizer(args: TrainingArguments, **options: Any) -> tuple[type[Any], dict[str, Any]]:
    """Returns what ``Trainer`` takes as ``optimizer_cls_and_kwargs``: its own optimizer over :func:`parameter_groups`.

    Trainers that adapt the model themselves, such as ``SFTTrainer(..., peft_config=LRLoraConfig(...))``, take it too:
    the optimizer is made when training begins.

    Args:
        args: The arguments of the trainer, which decide the optimizer, learning rate, weight decay and schedule.
        **options: Of :func:`parameter_groups`, without ``model``, ``lr`` and ``weight_decay``.
    """
    return _OptimizerFactory, {"args": args, "options": options}


class _OptimizerFactory:
    """What ``Trainer`` calls with the placed model. It takes any class that is no ``Optimizer`` for a factory."""

    def __init__(self, params: object = None, **_: Any) -> None:
        if params is not None:
            raise TypeError(
                "this version of transformers knows no optimizer factories: pass "
                "Trainer(optimizers=(torch.optim.AdamW(lrlora.parameter_groups(model, lr=...)), None)) instead"
            )

    def __call__(self, model: nn.Module, *, args: TrainingArguments, options: dict[str, Any]) -> Optimizer:
        from torch.optim import Optimizer
        from transformers import Trainer

        optimizer_cls, kwargs = Trainer.get_optimizer_cls_and_kwargs(args, model)
        own = {"params", "model", "optimizer_dict"} & kwargs.keys()
        if own or not (isinstance(optimizer_cls, type) and issubclass(optimizer_cls, Optimizer)):
            raise ValueError(
                f"optim={str(args.optim)!r} groups the parameters in a way of its own, which leaves no room for θ's; "
                "choose another, such as 'adamw_torch'"
            )
        groups = parameter_groups(model, kwargs.pop("lr", args.learning_rate), args.weight_decay, **options)
        optimizer: Optimizer = optimizer_cls(groups, **kwargs)
        return optimizer


def _theta(model: nn.Module) -> dict[int, tuple[str, float]]:
    """By the identity of a parameter of θ: what part of θ it is, and its learning rate as a fraction."""
    found = {}
    for module in model.modules():
        if isinstance(module, LRLoraLayer):
            for adapter, config in module.lrlora_config.items():
                assert config.transfer_lr_scale is not None  # filled by the preset
                for part, theta in module.theta(adapter).items():
                    found[id(theta.weight)] = (part, config.transfer_lr_scale)
    return found

"""Parameter groups: what of an adapter learns at which rate, and what decays.

θ is a few scalars that every entry of ΔW meets, so it has a learning rate of its own and is not decayed. A loop of your
own takes :func:`parameter_groups`; transformers' ``Trainer``, and with it TRL's, takes :func:`trainer_optimizer`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from lrlora.tuner.layer import LRLoraLayer

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import TrainingArguments

_B = re.compile(r"(^|\.)(lr)?lora_(embedding_)?B(\.|$)")
"""A name with this in it is that of a matrix B, ours or one of PEFT's LoRA."""


class _Group(NamedTuple):
    """What decides in which group a parameter is. Groups come in the order of their kinds, so that a saved optimizer
    state meets the same ones again."""

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
    """Groups for a ``torch.optim`` optimizer over all trainable parameters of a model, each in exactly one.

    For a model without LR-LoRA adapters it is the same without θ, so that a baseline can go through the same call:
    ``torch.optim.AdamW(parameter_groups(model, lr=1e-3))``.

    What ``weight_decay`` does not reach: θ, and vectors outside of adapters (biases, gains of norms), as in
    ``Trainer``. Decay pulls towards zero, and zero means something only for amplitudes: of a bandwidth the logarithm
    is held, and of a learned grid the logarithms of the gaps, so that decay would pull towards ω = 1 and gaps of 1,
    which are right for no reason. Amplitudes at zero are LoRA where ``residual`` is set, and no update at all where it
    is not; ``amplitude_weight_decay`` is for who wants the pull.

    Args:
        model: Any model, adapted by PEFT or not. What does not require a gradient is left out: adapters that are not
            active, parts that the config fixes. What PEFT trains beside the adapter (``modules_to_save``) is in.
        lr: Learning rate of A, B and what is trained beside the adapter.
        weight_decay: Of A, B and the matrices that are trained beside the adapter.
        transfer_lr_scale: Learning rate of θ as a fraction of ``lr``; None for what each adapter's config says.
        loraplus_lr_ratio: Learning rate of B as a multiple of ``lr``: LoRA+ (Hayou et al. 2024). θ keeps to ``lr``.
        amplitude_weight_decay: Of the amplitudes alone.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay`` and ``name``. ``"adapter"`` has A, B and whatever is trained
        beside the adapter; what is told apart has groups of its own: ``"B"``, where the ratio is not 1;
        ``"undecayed"``, where anything decays; ``"amplitude"``, where it decays; ``"transfer"``, which is θ or what is
        left of it. The last two are there once for each scale.

    Raises:
        ValueError: Nothing is trainable, or a rate or a decay is negative.
    """
    for what, value in (
        ("lr", lr),
        ("weight_decay", weight_decay),
        ("transfer_lr_scale", transfer_lr_scale or 0.0),
        ("amplitude_weight_decay", amplitude_weight_decay),
    ):
        if not value >= 0:
            raise ValueError(f"{what} is at least 0, not {value!r}")
    if not loraplus_lr_ratio > 0:
        raise ValueError(f"loraplus_lr_ratio is greater than 0, not {loraplus_lr_ratio!r}")
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
    """The optimizer that ``Trainer`` would make of its arguments, over :func:`parameter_groups`.

    ``Trainer(model, args, ..., optimizer_cls_and_kwargs=trainer_optimizer(args))``. Trainers that adapt the model
    themselves take it just so, ``SFTTrainer(model, args, peft_config=LRLoraConfig(...), ...)`` for one: the optimizer
    is made when training begins. The kind of optimizer, the learning rate, the weight decay and the schedule are those
    of ``args``.

    Args:
        args: The very arguments that the trainer gets.
        **options: What :func:`parameter_groups` takes besides: ``transfer_lr_scale``, ``loraplus_lr_ratio``,
            ``amplitude_weight_decay``.

    Returns:
        What ``optimizer_cls_and_kwargs`` takes.
    """
    return _OptimizerFactory, {"args": args, "options": options}


class _OptimizerFactory:
    """What ``Trainer`` calls with the model once it is adapted and placed; no subclass of ``Optimizer``, by which
    ``Trainer`` knows it for a factory."""

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

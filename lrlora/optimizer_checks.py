"""Optimizers that know LoRA by the names of its parameters, and would do something wrong with LR-LoRA's without a word.

PEFT's ``create_lorafa_optimizer`` and ``create_loraplus_optimizer`` look for ``lora_A`` and ``lora_B`` in names, which
``lrlora_A`` and ``lrlora_B`` contain, and know nothing of θ. Neither asks the tuner whether it may, so they are met
where torch lets anyone look: in the hook that it runs before every step of every optimizer. Nothing of PEFT is
replaced.

What is done there, and why it is wrong here:

- **LoRA-FA** freezes A and multiplies the gradient of B by (AAᵀ)⁻¹ / s²: the step of B whose change of ΔW = s BA comes
  nearest to the gradient of the whole weight. Here the change is (λ + φ'(z)) ⊙ s dB A, so that each row of B has a
  matrix of its own to invert, A diag((λ + φ')²) Aᵀ. The formula holds only as long as φ is a straight line. Besides, it
  takes the parameters whose names contain "lora" two by two for A and B, and so a and ω for a pair. And what it is for,
  not keeping the layer's input for the backward pass, is not to be had: the gradient of ΔW needs the input.
- **LoRA+** trains B faster than A, which is right here too; but it gives B's rate to every vector, θ among them, which
  should be slower than A. ``lrlora.parameter_groups`` with ``loraplus_lr_ratio`` does what is meant.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

_checked: weakref.WeakKeyDictionary[Optimizer, int] = weakref.WeakKeyDictionary()
"""The optimizers that have passed, and how many groups they had then."""

_registered = False


def watch_optimizers() -> None:
    """Check every optimizer before its first step, and again when groups are added. A second call changes nothing."""
    global _registered
    if not _registered:
        register_optimizer_step_pre_hook(_before_step)
        _registered = True


def check_optimizer(optimizer: Optimizer) -> None:
    """See that an optimizer does not take the parameters of an LR-LoRA adapter for those of LoRA.

    It is done by itself before the first step of any optimizer of torch, and so by ``Trainer``'s; call it to know
    earlier, or for an optimizer that is none of torch's.

    Raises:
        ValueError: It does, as PEFT's LoRA-FA and LoRA+ do; with what to use instead.
    """
    _refuse_lorafa(optimizer)
    _refuse_loraplus(optimizer)


def _before_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    # A compiled step is traced: what is looked up here would break its graph.
    if torch.compiler.is_compiling() or _checked.get(optimizer) == len(optimizer.param_groups):
        return
    check_optimizer(optimizer)
    _checked[optimizer] = len(optimizer.param_groups)


def _refuse_lorafa(optimizer: Optimizer) -> None:
    if type(optimizer).__name__ != "LoraFAOptimizer":
        return
    names = (name for group in optimizer.param_groups for name in group.get("names", ()))
    found = next((name for name in names if "lrlora_" in name), None)
    if found is not None:
        raise ValueError(
            f"LoRA-FA projects the gradient of B as if ΔW were BA, and here it is φ(BA) ({found}): train with "
            "torch.optim.AdamW(lrlora.parameter_groups(model, lr=...)). A has been frozen by create_lorafa_optimizer; "
            "model.set_adapter(name) lets it train again"
        )


def _refuse_loraplus(optimizer: Optimizer) -> None:
    """Refuse groups in which θ is with B, apart from A, and learns faster than A does."""
    from lrlora.tuner.fits import evaluated_layers
    from lrlora.tuner.theta import THETA

    part_of: dict[int, str] = {}
    for layer, adapter in evaluated_layers():
        part_of[id(layer.lrlora_A[adapter])] = "A"
        part_of[id(layer.lrlora_B[adapter])] = "B"
        part_of |= {id(getattr(layer, name)[adapter].weight): "θ" for name in THETA}
    kinds = [{part_of.get(id(p)) for p in group["params"]} for group in optimizer.param_groups]
    # The rate before any schedule, under which the first one may be zero.
    rates = [float(group.get("initial_lr", group.get("lr", 0.0))) for group in optimizer.param_groups]
    of_a = [rate for kind, rate in zip(kinds, rates, strict=True) if "A" in kind]
    for kind, rate in zip(kinds, rates, strict=True):
        if {"B", "θ"} <= kind and "A" not in kind and of_a and rate > max(of_a):
            slow = max(of_a)
            raise ValueError(
                f"θ is in one group with B and learns at its rate, {rate:g} where A has {slow:g}, as PEFT's "
                "create_loraplus_optimizer arranges it for every vector: train with torch.optim.AdamW("
                f"lrlora.parameter_groups(model, lr={slow:g}, loraplus_lr_ratio={rate / slow if slow else 16:g}))"
            )

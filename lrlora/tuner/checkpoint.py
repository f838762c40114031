"""The state of an adapter as it is saved, and whether a saved one fits.

A θ that layers share is saved once. A state that does not fit is refused with the model left as it was.
"""

from __future__ import annotations

import torch
from peft import PeftModel
from torch import Tensor, nn

from lrlora.tuner.layer import layers_with
from lrlora.tuner.theta import FACTORS

PLAN = "_extra_state"
"""Last part of the key that a plan has in a state; see :class:`lrlora.tuner.planning.Plans`."""


def copies_of_theta(model: nn.Module, adapter_name: str) -> dict[str, str]:
    """Keys of the model's state under which a shared part of θ is found again, and the key it is found under first."""
    first: dict[int, str] = {}
    copies: dict[str, str] = {}
    for name, module in layers_with(model, adapter_name).items():
        for part, theta in module.theta(adapter_name).items():
            key = f"{name}.{part}.{adapter_name}.weight"
            known = first.setdefault(id(theta), key)
            if known != key:
                copies[key] = known
    return copies


def without_copies(model: nn.Module, adapter_name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of an adapter with every part of θ once."""
    copies = copies_of_theta(model, adapter_name)
    return {key: value for key, value in state.items() if key not in copies}


def with_copies(model: nn.Module, adapter_name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of an adapter with every part of θ under all of its keys, as a module's state has it.

    The key that it was saved under need not be the first one here: another model may have its modules in another order.
    """
    copies = copies_of_theta(model, adapter_name)
    saved = {copies.get(key, key): tensor for key, tensor in state.items()}
    return {**{key: saved[first] for key, first in copies.items() if first in saved}, **saved, **state}


def without_empty_plans(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the state of an adapter without the plans of layers that were never trained."""
    return {key: value for key, value in state.items() if value.numel() or not key.endswith(PLAN)}


def with_empty_plans(model: nn.Module, adapter_name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the state of an adapter with an empty plan for every layer that has none in it."""
    keys = [f"{name}.lrlora_plan.{adapter_name}.{PLAN}" for name in layers_with(model, adapter_name)]
    return {key: torch.empty(0, dtype=torch.uint8) for key in keys} | state


def check_fits(model: nn.Module, adapter_name: str, state: dict[str, Tensor]) -> None:
    """Check a state against the adapter that is to take it.

    Raises:
        ValueError: Another base model, or another configuration. The adapter has been removed from the model.
    """
    own = {
        f"{name}.{part}.{adapter_name}.weight": getattr(module, part)[adapter_name].weight
        for name, module in layers_with(model, adapter_name).items()
        for part in (*FACTORS, *module.theta(adapter_name))
    }
    shapes = {key: tuple(value.shape) for key, value in own.items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    wrong = [
        f"{key} has shape {found[key]}, and {shapes[key]} here"
        for key in shapes.keys() & found.keys()
        if shapes[key] != found[key]
    ]
    missing = [f"{key} is not in the file" for key in shapes.keys() - found.keys()]
    unknown = (key for key in found.keys() - shapes.keys() if ".lrlora_" in key and ".lrlora_plan." not in key)
    stray = [f"{key} has no place here" for key in unknown]
    problems = sorted(wrong) + sorted(stray) + sorted(missing)
    if not problems:
        return
    remove_adapter(model, adapter_name)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise ValueError(f"this adapter was saved for another base model or configuration: {problems[0]}{more}")


def remove_adapter(model: nn.Module, adapter_name: str) -> None:
    """Undo the injection of an adapter."""
    if isinstance(model, PeftModel):
        if len(model.peft_config) == 1:
            model.base_model.restore_base()
        else:
            model.delete_adapter(adapter_name)
        return
    for name, module in layers_with(model, adapter_name).items():
        module.delete_adapter(adapter_name)
        if not module.r:
            model.set_submodule(name, module.base_layer)
    getattr(model, "peft_config", {}).pop(adapter_name, None)

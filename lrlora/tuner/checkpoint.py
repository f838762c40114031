"""The state of an adapter as it is saved, and whether a saved one fits.

A θ that layers share is saved once. A state that does not fit is refused with the model left as it was.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from peft import PeftModel
from torch import Tensor, nn

from lrlora.tuner.layer import LRLoraLayer, layers_with
from lrlora.tuner.names import culprit
from lrlora.tuner.theta import Part

_WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Names that wrappers add to those of modules and leave out of the keys of a state."""


def state_to_save(
    model: nn.Module, adapter_name: str, state: dict[str, Tensor], others: Iterable[str]
) -> dict[str, Tensor]:
    """The state of an adapter, with every part of θ once.

    Args:
        model: The model with the adapter.
        adapter_name: The adapter's name.
        state: The model's state without the other adapters, as PEFT tells them; empty in a process that holds none, as
            all but the first do under FSDP.
        others: Names of the other adapters.

    Raises:
        ValueError: A tensor of the adapter is not in the state.
    """
    needed = _parts(model, adapter_name)
    missing = [key for key in needed if key not in state] if state else []
    if missing:
        other = culprit(missing, others)
        why = "it is not in the state dict" if other is None else f"PEFT takes it for a part of the adapter {other!r}"
        way = "pass a whole state dict" if other is None else f"delete the adapter {other!r}, or give it another name"
        lost = missing[0].removesuffix(".weight")
        raise ValueError(f"adapter {adapter_name!r} would be saved without {lost}: {why}; {way}")
    copies = _copies(needed)
    # A layer that was never trained has an empty plan, which need not be saved.
    plans = {key: state[key] for key in _plans(model, adapter_name) if key in state and state[key].numel()}
    return {key: state[key] for key in needed if key in state and key not in copies} | plans


def state_to_load(model: nn.Module, adapter_name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a saved adapter with every part of θ under all of its keys, and a plan for every layer.

    The key that a shared part was saved under need not be the first one here: another model may have its modules in
    another order.

    Args:
        model: The model with the adapter.
        adapter_name: The adapter's name, which is in the keys.
        state: The state as it was read; files of 0.1.0 have no plans.

    Raises:
        ValueError: Another base model, or another configuration. The adapter has been removed from the model.
    """
    parts, plans = _parts(model, adapter_name), _plans(model, adapter_name)
    copies = _copies(parts)
    saved = {copies.get(key, key): tensor for key, tensor in state.items()}
    shared = {key: saved[first] for key, first in copies.items() if first in saved}
    state = {**{key: torch.empty(0, dtype=torch.uint8) for key in plans}, **shared, **saved, **state}
    shapes = {key: tuple(part.weight.shape) for key, part in parts.items()}
    problems = [
        *sorted(
            f"{key} has shape {tuple(state[key].shape)}, and {shape} here"
            for key, shape in shapes.items()
            if key in state and state[key].shape != shape
        ),
        *sorted(
            f"{key} has no place here" for key in state if ".lrlora_" in key and key not in shapes and key not in plans
        ),
        *sorted(f"{key} is not in the file" for key in shapes if key not in state),
    ]
    if problems:
        _remove(model, adapter_name)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ValueError(f"this adapter was saved for another base model or configuration: {problems[0]}{more}")
    return state


def with_present_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a saved adapter with A and B as ``….lrlora_A.weight``; version 0.1.0 wrote ``….lrlora_A``."""
    old = (".lrlora_A", ".lrlora_B")
    return {f"{key}.weight" if key.endswith(old) else key: value for key, value in state.items()}


def _parts(model: nn.Module, adapter_name: str) -> dict[str, Part]:
    """The parts of an adapter by the keys that their weights have in the model's state; a shared part by several."""
    return {
        f"{name}.{part}.{adapter_name}.weight": getattr(layer, part)[adapter_name]
        for name, layer in _layers(model, adapter_name).items()
        for part in layer.adapter_layer_names
        if adapter_name in getattr(layer, part)
    }


def _copies(parts: dict[str, Part]) -> dict[str, str]:
    """Keys under which a shared part is found again, and the key it is found under first."""
    first: dict[int, str] = {}
    return {key: known for key, part in parts.items() if (known := first.setdefault(id(part), key)) != key}


def _plans(model: nn.Module, adapter_name: str) -> list[str]:
    """The keys that plans have in the model's state; see :class:`lrlora.tuner.planning.Plans`."""
    return [f"{name}.lrlora_plan.{adapter_name}._extra_state" for name in _layers(model, adapter_name)]


def _layers(model: nn.Module, adapter_name: str) -> dict[str, LRLoraLayer]:
    """The layers that an adapter is in, by their names in the keys of the model's state."""
    found = layers_with(model, adapter_name)
    for wrapper in _WRAPPERS:
        found = {name.replace(wrapper, ""): layer for name, layer in found.items()}
    return found


def _remove(model: nn.Module, adapter_name: str) -> None:
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

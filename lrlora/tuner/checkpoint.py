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
from lrlora.tuner.planning import Plans

PLAN = "_extra_state"
"""Last part of the key that a plan has in a state; see :class:`lrlora.tuner.planning.Plans`."""

_WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Names that wrappers add to those of modules and leave out of the keys of a state."""


def parts_of(layer: LRLoraLayer, adapter_name: str) -> dict[str, nn.Module | Tensor]:
    """What an adapter is made of in one layer, by where the layer holds it."""
    held = {part: getattr(layer, part) for part in layer.adapter_layer_names}
    return {part: by_adapter[adapter_name] for part, by_adapter in held.items() if adapter_name in by_adapter}


def tensors_of(layer: LRLoraLayer, adapter_name: str) -> dict[str, Tensor]:
    """The tensors of an adapter in one layer, by their keys in the layer's state."""
    found: dict[str, Tensor] = {}
    for part, held in parts_of(layer, adapter_name).items():
        key = f"{part}.{adapter_name}"
        if isinstance(held, Tensor):
            found[key] = held
        else:
            found |= {f"{key}.{name}": value for name, value in held.state_dict(keep_vars=True).items()}
    return found


def copies_of_theta(model: nn.Module, adapter_name: str) -> dict[str, str]:
    """Keys of the model's state under which a shared part of θ is found again, and the key it is found under first."""
    first: dict[int, str] = {}
    copies: dict[str, str] = {}
    for name, layer in _layers(model, adapter_name).items():
        for part, held in parts_of(layer, adapter_name).items():
            key = f"{name}.{part}.{adapter_name}.weight"
            known = first.setdefault(id(held), key)
            if known != key:
                copies[key] = known
    return copies


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
    layers = _layers(model, adapter_name).items()
    needed = [f"{name}.{part}.{adapter_name}" for name, layer in layers for part in parts_of(layer, adapter_name)]
    wanted = {*needed, *_kept_besides(model, adapter_name)}
    under = {key: prefix for key in state for prefix in _prefixes(key) if prefix in wanted}
    held = set(under.values())
    missing = [prefix for prefix in needed if prefix not in held] if state else []
    if missing:
        other = culprit((f"{prefix}.weight" for prefix in missing), others)
        why = "it is not in the state dict" if other is None else f"PEFT takes it for a part of the adapter {other!r}"
        way = "pass a whole state dict" if other is None else f"delete the adapter {other!r}, or give it another name"
        raise ValueError(f"adapter {adapter_name!r} would be saved without {missing[0]}: {why}; {way}")
    copies = copies_of_theta(model, adapter_name)
    # A layer that was never trained has an empty plan, which need not be saved.
    return {key: state[key] for key in under if key not in copies and (state[key].numel() or not key.endswith(PLAN))}


def with_copies(model: nn.Module, adapter_name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of an adapter with every part of θ under all of its keys, as a module's state has it.

    The key that it was saved under need not be the first one here: another model may have its modules in another order.
    """
    copies = copies_of_theta(model, adapter_name)
    saved = {copies.get(key, key): tensor for key, tensor in state.items()}
    return {**{key: saved[first] for key, first in copies.items() if first in saved}, **saved, **state}


def with_present_keys(model: nn.Module, adapter_name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a saved adapter under the keys that are written today.

    Version 0.1.0 wrote A and B as ``….lrlora_A``, and they are ``….lrlora_A.weight`` since. Both are taken.

    Args:
        model: The model with the adapter.
        adapter_name: The adapter's name, which is not in the keys of the file.
        state: The state as it was read.
    """
    keys = {
        key.replace(f".{adapter_name}", "", 1)
        for layer in layers_with(model, adapter_name).values()
        for key in tensors_of(layer, adapter_name)
    }

    def present(key: str) -> str:
        stem, dot, own = key.rpartition(".lrlora_")
        own = f"lrlora_{own}"
        if not dot or own in keys:
            return key
        other = own.removesuffix(".weight") if own.endswith(".weight") else f"{own}.weight"
        return f"{stem}.{other}" if other in keys else key

    return {present(key): value for key, value in state.items()}


def with_empty_plans(model: nn.Module, adapter_name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the state of an adapter with an empty plan for every layer that has none in it, as in files of 0.1.0."""
    kept = _kept_besides(model, adapter_name)
    keys = [f"{prefix}.{PLAN}" for prefix, module in kept.items() if isinstance(module, Plans)]
    return {key: torch.empty(0, dtype=torch.uint8) for key in keys} | state


def check_fits(model: nn.Module, adapter_name: str, state: dict[str, Tensor]) -> None:
    """Check a state against the adapter that is to take it.

    Raises:
        ValueError: Another base model, or another configuration. The adapter has been removed from the model.
    """
    shapes = {
        f"{name}.{key}": tuple(value.shape)
        for name, module in _layers(model, adapter_name).items()
        for key, value in tensors_of(module, adapter_name).items()
    }
    found = {key: tuple(value.shape) for key, value in state.items()}
    wrong = [
        f"{key} has shape {found[key]}, and {shapes[key]} here"
        for key in shapes.keys() & found.keys()
        if shapes[key] != found[key]
    ]
    missing = [f"{key} is not in the file" for key in shapes.keys() - found.keys()]
    besides = _kept_besides(model, adapter_name).keys()
    stray = [
        f"{key} has no place here"
        for key in found.keys() - shapes.keys()
        if ".lrlora_" in key and besides.isdisjoint(_prefixes(key))
    ]
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


def _layers(model: nn.Module, adapter_name: str) -> dict[str, LRLoraLayer]:
    """The layers that an adapter is in, by their names in the keys of the model's state."""
    found = layers_with(model, adapter_name)
    for wrapper in _WRAPPERS:
        found = {name.replace(wrapper, ""): layer for name, layer in found.items()}
    return found


def _kept_besides(model: nn.Module, adapter_name: str) -> dict[str, nn.Module]:
    """What layers hold that belongs to an adapter and is no part of it, such as the state of its evaluation.

    It is saved if there is any, and a file that lacks it is taken.
    """
    return {
        f"{name}.{child}.{adapter_name}": held[adapter_name]
        for name, layer in _layers(model, adapter_name).items()
        for child, held in layer.named_children()
        if child not in layer.adapter_layer_names and isinstance(held, nn.ModuleDict) and adapter_name in held
    }


def _prefixes(key: str) -> list[str]:
    """The beginnings of a key that end before a dot, and the key."""
    parts = key.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]

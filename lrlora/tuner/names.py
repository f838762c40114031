"""Which names an adapter can have, so that every adapter of a model can be saved.

When PEFT saves one of several adapters it leaves out every tensor whose key has the name of another one between dots
(``peft.utils.save_and_load._filter_state_dict_for_adapter_name``), so an adapter called ``out`` would remove the
tensors of every module called ``out``.
"""

from __future__ import annotations

from collections.abc import Iterable

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

_ADDED = ("model", "base_layer", "modules_to_save", "original_module", "weight")
"""Names that PEFT and its methods add to those of the base model."""


def check_adapter_name(model: nn.Module, name: str, others: Iterable[str], parts: Iterable[str]) -> None:
    """Check the name of an adapter that is about to be added.

    Args:
        model: The base model, with its adapters.
        name: The new adapter's name.
        others: Names of the adapters that are there.
        parts: Names that an adapted layer gives to its own parts.

    Raises:
        ValueError: The name can't be a key of a module, or the file of an adapter would lack tensors.
    """
    if "." in name or hasattr(nn.ModuleDict(), name):
        why = "has a dot" if "." in name else "is an attribute of torch.nn.ModuleDict"
        raise ValueError(f"adapter name {name!r} {why}: choose another name")
    others = [other for other in others if other != name]
    if not others:
        return
    taken = {**_names_in(model), **{part: part for part in (*_ADDED, *parts)}}
    clashing = next((adapter for adapter in (name, *others) if adapter in taken), None)
    if clashing is not None:
        raise ValueError(
            f"adapter name {clashing!r} is also in the module name {taken[clashing]!r}: with a second adapter in the "
            f"model PEFT would leave tensors out of the saved files; choose another name for {clashing!r}"
        )


def culprit(keys: Iterable[str], adapters: Iterable[str]) -> str | None:
    """Returns the adapter whose name makes PEFT leave out one of the keys; None if there is none."""
    keys = list(keys)
    return next(
        (name for name in adapters if any(f".{name}." in key or key.endswith(f".{name}") for key in keys)), None
    )


def _names_in(model: nn.Module) -> dict[str, str]:
    """The components of the names of modules and parameters, without adapters, each with one full name."""
    found: dict[str, str] = {}
    inside: list[str] = []  # of adapters
    for name, module in model.named_modules():
        if any(name.startswith(prefix) for prefix in inside):
            continue
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            kept = ("base_layer", "original_module")
            inside += [f"{name}.{child}" for child, _ in module.named_children() if child not in kept]
        tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for full in (name, *(f"{name}.{tensor}" for tensor, _ in tensors)):
            for part in full.split("."):
                found.setdefault(part, full)
    return found

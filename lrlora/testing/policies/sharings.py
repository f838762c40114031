"""Checks of what adapters share, and of the scope they share it in: one tensor, and no other, through save and cast."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lrlora.policies import SCOPES, SHARINGS, Scope, Sharing
from lrlora.policies.sharing import PARTS
from lrlora.testing.checks import Check, ConformanceError, Outcome, checks_of
from lrlora.testing.policies.adapters import BLOCKS, adapted, adapter_config, saved_and_loaded, train
from lrlora.testing.policies.policy import policy_checks, require_conforming
from lrlora.tuner.layer import layers_with

_NAMES = (
    "model.layers.0.self_attn.q_proj",
    "model.layers.1.self_attn.q_proj",
    "model.layers.1.mlp.down_proj",
    "encoder.block.0.layer.0.SelfAttention.q",
    "decoder.block.0.layer.1.EncDecAttention.q",
    "classifier",
    "0",
)


def check_sharing(sharing: str | Sharing, expected_failures: Mapping[str, str] | None = None) -> list[Outcome]:
    """Run all checks of a sharing: its name, its spec, or itself.

    Raises:
        ConformanceError: With a line per failure.
    """
    return require_conforming(SHARINGS, sharing, expected_failures)


def check_sharing_scope(scope: str | Scope, expected_failures: Mapping[str, str] | None = None) -> list[Outcome]:
    """Run all checks of a scope of sharing: its name, its spec, or itself.

    Raises:
        ConformanceError: With a line per failure.
    """
    return require_conforming(SCOPES, scope, expected_failures)


# -- sharings -----------------------------------------------------------------------------------------------


def check_parts(sharing: Sharing) -> None:
    """Its names are a set of parts of θ, and of nothing else."""
    names = sharing.names
    if not isinstance(names, (set, frozenset)):
        raise ConformanceError(f"names is {names!r}, a {type(names).__name__} and no set")
    unknown = sorted(set(names) - set(PARTS), key=str)
    if unknown:
        raise ConformanceError(f"names holds {unknown[0]!r}, which is no part of θ (known: {', '.join(PARTS)})")


def check_one_tensor_where_shared(sharing: Sharing) -> None:
    """What is shared is one tensor in every layer and what is not is not: made, trained, cast, copied and loaded."""
    model = adapted(BLOCKS, adapter_config(BLOCKS, sharing=sharing))
    _check_groups(model, sharing.names, lambda name: "", "after injection")
    train(BLOCKS, model)
    _check_groups(model, sharing.names, lambda name: "", "after two steps")
    _check_groups(saved_and_loaded(BLOCKS, model), sharing.names, lambda name: "", "after saving and loading")
    _check_groups(copy.deepcopy(model), sharing.names, lambda name: "", "in a copy")
    _check_groups(model.to(torch.float64), sharing.names, lambda name: "", "after .to(torch.float64)")


@checks_of.register(Sharing)
def _(sharing: Sharing) -> Iterator[Check]:
    def probe(asked: Sharing) -> dict[str, Any]:
        return {"names": asked.names}

    return policy_checks(sharing, SHARINGS, probe, BLOCKS, [check_parts, check_one_tensor_where_shared])


# -- scopes -------------------------------------------------------------------------------------------------


def check_groups(scope: Scope) -> None:
    """A group is a string, the same one for the same module whatever was asked before."""
    first = {name: scope.group(name) for name in _NAMES}
    for name, group in first.items():
        if not isinstance(group, str):
            raise ConformanceError(f"group({name!r}) is {group!r}, a {type(group).__name__} and no str")
    for name in reversed(_NAMES):
        if (again := scope.group(name)) != first[name]:
            raise ConformanceError(f"group({name!r}) is {first[name]!r} at first and {again!r} later")


def check_one_tensor_within_a_group(scope: Scope) -> None:
    """Layers of one group share all of θ and layers of two share nothing: made, trained, cast, copied and loaded."""
    model = adapted(BLOCKS, adapter_config(BLOCKS, sharing="all", sharing_scope=scope))
    shared = frozenset(PARTS)
    _check_groups(model, shared, scope.group, "after injection")
    train(BLOCKS, model)
    _check_groups(model, shared, scope.group, "after two steps")
    _check_groups(saved_and_loaded(BLOCKS, model), shared, scope.group, "after saving and loading")
    _check_groups(copy.deepcopy(model), shared, scope.group, "in a copy")
    _check_groups(model.to(torch.float64), shared, scope.group, "after .to(torch.float64)")


@checks_of.register(Scope)
def _(scope: Scope) -> Iterator[Check]:
    def probe(asked: Scope) -> dict[str, Any]:
        return {f"group({name!r})": asked.group(name) for name in _NAMES}

    return policy_checks(scope, SCOPES, probe, BLOCKS, [check_groups, check_one_tensor_within_a_group])


def _check_groups(model: Any, shared: frozenset[str], group: Callable[[str], str], when: str) -> None:
    """See that two layers hold one tensor of a part if and only if the part is shared and they are of one group."""
    layers = {name.removeprefix("base_model.model."): layer for name, layer in layers_with(model, "default").items()}
    for part in PARTS:
        holder: dict[str, str] = {}  # by group, or by layer where nothing is shared, the first layer of it
        owner: dict[int, str] = {}
        for name, layer in layers.items():
            weight: Tensor = getattr(layer, f"lrlora_{part}")["default"].weight
            key = group(name) if part in shared else name
            first = layers[holder.setdefault(key, name)]
            if getattr(first, f"lrlora_{part}")["default"].weight is not weight:
                raise ConformanceError(f"{when} {holder[key]} and {name} do not share the {part}, against what it says")
            if owner.setdefault(id(weight), key) != key:
                raise ConformanceError(f"{when} {name} shares the {part} with another, against what it says")

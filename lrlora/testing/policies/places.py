"""Checks of what decides where adapters go: placements, by role, and layer choices, by index."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from torch import nn

from lrlora.policies import LAYER_CHOICES, PLACEMENTS, LayerChoice, Placement, depth_of, resolve_target_modules, role_of
from lrlora.policies.placements import linear_module_names
from lrlora.policies.roles import ROLES
from lrlora.testing.checks import Check, ConformanceError, Outcome, checks_of
from lrlora.testing.policies.adapters import BLOCKS, adapted, adapter_config
from lrlora.testing.policies.policy import policy_checks, require_conforming
from lrlora.testing.policies.tiny_models import FAMILIES, TinyModel

LAYERS = 24


def check_placement(placement: str | Placement, expected_failures: Mapping[str, str] | None = None) -> list[Outcome]:
    """Run all checks of a placement: its name, its spec, or itself.

    Raises:
        ConformanceError: With a line per failure.
    """
    return require_conforming(PLACEMENTS, placement, expected_failures)


def check_layer_choice(layers: str | LayerChoice, expected_failures: Mapping[str, str] | None = None) -> list[Outcome]:
    """Run all checks of a choice of layers: its name, its spec, or itself.

    Raises:
        ConformanceError: With a line per failure.
    """
    return require_conforming(LAYER_CHOICES, layers, expected_failures)


# -- placements ---------------------------------------------------------------------------------------------


def check_roles(placement: Placement) -> None:
    """At least one role, each of them known."""
    names = placement.names
    if not isinstance(names, (set, frozenset)) or not names:
        raise ConformanceError(f"names is {names!r}, not a set of at least one role")
    unknown = sorted(set(names) - set(ROLES), key=str)
    if unknown:
        raise ConformanceError(f"names holds the unknown role {unknown[0]!r} (known: {', '.join(ROLES)})")


def check_resolves(placement: Placement) -> None:
    """It finds all modules of its roles, in order, in one family at least; elsewhere it says in one line why not."""
    refusals = []
    for kind in FAMILIES:
        tiny = TinyModel(kind, layers=2)
        found = _resolved(_base(tiny), placement, "all")
        if isinstance(found, str):
            refusals.append(f"{kind}: {found}")
            continue
        roles = _roles(tiny)
        wanted = [name for name, role in roles.items() if role in placement.names]
        if found != wanted:
            name = next(iter(set(found) ^ set(wanted)), "their order")
            raise ConformanceError(f"on {tiny} the modules that it finds are not those of its roles: {name}")
    if len(refusals) == len(FAMILIES):
        raise ConformanceError(f"no family has modules of its roles: {refusals[0]}")


def check_adapts_what_it_resolves(placement: Placement) -> None:
    """The modules that an adapter is in are those that it finds, and those alone train."""
    for kind in FAMILIES:
        tiny = TinyModel(kind, layers=1)
        wanted = _resolved(_base(tiny), placement, "all")
        if isinstance(wanted, str):
            continue
        model = adapted(tiny, adapter_config(tiny, placement=placement))
        got = {_module(name) for name, p in model.named_parameters() if p.requires_grad}
        if got != set(wanted):
            name = next(iter(got ^ set(wanted)))
            raise ConformanceError(
                f"on {tiny} module {name} is {'adapted' if name in got else 'left out'} against what it finds"
            )


def _module(parameter: str) -> str:
    return parameter.removeprefix("base_model.model.").partition(".lrlora_")[0]


@cache
def _base(tiny: TinyModel) -> nn.Module:
    return tiny.build()  # read, and never adapted


def _roles(tiny: TinyModel) -> dict[str, str | None]:
    base: Any = _base(tiny)
    return {name: role_of(name, base.config.model_type) for name in linear_module_names(base)}


def _resolved(base: nn.Module, placement: str | Placement, layers: str | LayerChoice) -> list[str] | str:
    """The modules, or why there are none.

    Raises:
        ConformanceError: It is refused in many words, or in none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a model may have only one half of what is asked for
        try:
            return resolve_target_modules(base, placement, layers)
        except ValueError as error:
            if "\n" in str(error) or not str(error):
                raise ConformanceError(f"a refusal is one line, not {str(error)!r}") from error
            return str(error)


@checks_of.register(Placement)
def _(placement: Placement) -> Iterator[Check]:
    def probe(asked: Placement) -> dict[str, Any]:
        found = {f"on {kind} it": _resolved(_base(TinyModel(kind)), asked, "all") for kind in FAMILIES}
        return {"names": asked.names, **found}

    # The fused model has no q, and others no qkv: on the first family that has what is asked an adapter is saved.
    having = (TinyModel(kind, layers=2) for kind in ("llama", "gpt2"))
    usable = (tiny for tiny in having if set(_roles(tiny).values()) & set(_names_or_none(placement)))
    own = [check_roles, check_resolves, check_adapts_what_it_resolves]
    return policy_checks(placement, PLACEMENTS, probe, next(usable, BLOCKS), own)


def _names_or_none(placement: Placement) -> frozenset[str]:
    try:
        return frozenset(placement.names)
    except Exception:  # a check says so, in its own words
        return frozenset()


# -- layer choices ------------------------------------------------------------------------------------------


def check_choice(choice: LayerChoice) -> None:
    """True or False for every layer of models of 1 to 24 layers."""
    for num in range(1, LAYERS + 1):
        for index in range(num):
            has = choice.has(index, num)
            if not isinstance(has, bool):
                raise ConformanceError(f"has({index}, {num}) is {has!r}, a {type(has).__name__} and no bool")


def check_chooses_any(choice: LayerChoice) -> None:
    """In a model of some depth, to 512 layers, it chooses a layer."""
    if not any(choice.has(index, num) for num in (*range(1, LAYERS + 1), 64, 512) for index in range(num)):
        raise ConformanceError("it chooses no layer of any model of up to 512 layers")


def check_resolves_in_its_layers(choice: LayerChoice) -> None:
    """It finds the modules of the layers that it chooses, in each stack, or says in one line that there are none."""
    for kind in FAMILIES:
        for num in (1, 3):
            tiny = TinyModel(kind, layers=num)
            wanted = [
                name
                for name, role in _roles(tiny).items()
                if role is not None and (depth := depth_of(name)) is not None and choice.has(depth, num)
            ]
            found = _resolved(_base(tiny), "all", choice)
            if isinstance(found, str):
                found = []
            if found != wanted:
                name = next(iter(set(found) ^ set(wanted)), "their order")
                raise ConformanceError(f"on {tiny} the modules that it finds are not those of its layers: {name}")


@checks_of.register(LayerChoice)
def _(choice: LayerChoice) -> Iterator[Check]:
    def probe(asked: LayerChoice) -> dict[str, Any]:
        return {f"has({index}, {num})": asked.has(index, num) for num in (1, 2, 7, 24) for index in range(num)}

    own = [check_choice, check_chooses_any, check_resolves_in_its_layers]
    return policy_checks(choice, LAYER_CHOICES, probe, _deep_enough(choice), own)


def _deep_enough(choice: LayerChoice) -> TinyModel:
    """The smallest model of which it chooses a layer; a broken choice fails on any."""
    for num in range(2, LAYERS + 1):
        try:
            if any(choice.has(index, num) for index in range(num)):
                return TinyModel("llama", layers=num)
        except Exception:
            return BLOCKS
    return BLOCKS

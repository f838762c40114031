"""Which modules of the model are adapted, by the role they play."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from lrlora.policies.kind import PolicyKind
from lrlora.policies.layer_choices import LAYER_CHOICES, LayerChoice
from lrlora.policies.roles import (
    ATTENTION,
    FUSED,
    MLP,
    ROLES,
    depth_of,
    known_families,
    model_type_of,
    role_of,
    stack_of,
)


@dataclass(frozen=True)
class Placement:
    """A set of roles.

    Args:
        roles: Roles joined by ``+``, such as ``"q+v"``.
    """

    roles: str

    def __post_init__(self) -> None:
        unknown = self.names - set(ROLES)
        if unknown or not self.names:
            what = f"unknown role {sorted(unknown)[0]!r}" if unknown else "no role"
            raise ValueError(f"{what} in placement {self.roles!r} (known: {', '.join(ROLES)})")

    @property
    def names(self) -> frozenset[str]:
        """The roles."""
        return frozenset(role for role in self.roles.split("+") if role)


PLACEMENTS: PolicyKind[Placement] = PolicyKind(
    Placement,
    field="placement",
    group="lrlora.placements",
    check="check_placement",
    default="all",
    about="Which modules are adapted, by role.",
)
PLACEMENTS.builtin("roles")(Placement)
PLACEMENTS.short(
    "all",
    f"roles:{'+'.join(ROLES)}",
    "Every projection of attention and MLP, as published. The head and the embeddings are left alone.",
)
PLACEMENTS.short("attention", f"roles:{'+'.join(ATTENTION)}", "q, k, v and o.")
PLACEMENTS.short("mlp", f"roles:{'+'.join(MLP)}", "gate, up and down.")
PLACEMENTS.short("qkv", "roles:q+k+v+qkv", "q, k and v.")
PLACEMENTS.short("gate_up", "roles:gate+up+gate_up", "gate and up; in an MLP of two matrices, up.")


def resolve_target_modules(
    model: nn.Module,
    placement: str | Placement = "all",
    layers: str | Sequence[int] | LayerChoice = "all",
    among: Collection[str] | None = None,
) -> list[str]:
    """Returns the full names of the modules that a placement and a choice of layers adapt, in the model's order.

    Args:
        model: Any model whose ``config.model_type`` is a known family.
        placement: Roles.
        layers: Layers, counted in each stack: ``"first_last"`` takes the first and last of encoder and decoder each.
        among: Restrict to these full names. With ``placement="all"`` they need have no role.

    Raises:
        ValueError: The family is unknown, or does not have a role in this form, or no module is left.
    """
    roles, chosen = PLACEMENTS.create(placement), LAYER_CHOICES.create(layers)
    model_type = model_type_of(model)
    names = linear_module_names(model)
    counts = layer_counts(names)
    all_roles = {name: role_of(name, model_type) for name in names}
    present = {role for role in all_roles.values() if role is not None}
    if among is None or roles != PLACEMENTS.create("all"):
        if not present:
            raise ValueError(_unknown_family(model_type, names))
        _check_fused(placement, roles, present, model_type)
        names = [name for name in names if all_roles[name] in roles.names]
    if among is not None:
        names = [name for name in names if name in among]
    if chosen != LAYER_CHOICES.create("all"):
        depths = ((name, depth_of(name)) for name in names)
        names = [name for name, at in depths if at is not None and chosen.has(at, counts[stack_of(name)])]
    if not names:
        raise ValueError(
            f"no module is left to adapt: placement={placement!r} and layers={layers!r} on a {model_type!r} model "
            f"of {_in_words(counts)}" + (" within the target_modules that were given" if among is not None else "")
        )
    if among is None:
        _warn_of_half(placement, roles, present, model_type)
    return names


def linear_module_names(model: nn.Module) -> list[str]:
    """Returns the full names of linear modules; an adapted module counts under its own name."""
    return [
        name
        for name, module in model.named_modules()
        # PEFT's adapted layers are known by this method; importing its classes here would tie policies to it.
        if _is_linear(module.get_base_layer() if hasattr(module, "get_base_layer") else module)
        and name
        and ".base_layer" not in f".{name}"
    ]


def warn_of_bare_weights(model: nn.Module) -> None:
    """Warn of matrices that are parameters of no linear module, such as grouped experts and their routers.

    For LoRA, PEFT's "all-linear" includes these parameters on the models it knows.
    """
    kinds: dict[str, None] = {}
    adapted = tuple(f"{name}." for name, module in model.named_modules() if hasattr(module, "get_base_layer"))
    for name, module in model.named_modules():
        known = _is_linear(module) or isinstance(module, (nn.Embedding, nn.modules.conv._ConvNd))
        if known or f"{name}.".startswith(adapted):
            continue
        for own, parameter in module.named_parameters(recurse=False):
            experts = parameter.ndim == 3 and min(parameter.shape) > 1  # a position embedding is (1, tokens, features)
            if experts or (own == "weight" and parameter.ndim == 2):
                kinds[re.sub(r"\.\d+(?=\.)", ".*", f"{name}.{own}")] = None
    if kinds:
        warnings.warn(
            f"target_modules='all-linear' leaves out {', '.join(kinds)}: they are parameters and not linear modules, "
            "and LR-LoRA adapts modules",
            stacklevel=2,
        )


def layer_counts(names: Collection[str]) -> dict[str, int]:
    """By stack, the number of layers that modules of these names lie in."""
    counts: dict[str, int] = {}
    for name in names:
        depth = depth_of(name)
        if depth is not None:
            stack = stack_of(name)
            counts[stack] = max(counts.get(stack, 0), depth + 1)
    return counts


def relative_depth(name: str, counts: Mapping[str, int]) -> float:
    """Where a module's layer lies in its stack, from 0 for the first to 1 for the last; 0 outside the layers."""
    return (depth_of(name) or 0) / max(1, counts.get(stack_of(name), 1) - 1)


def _is_linear(module: nn.Module) -> bool:
    # Quantised layers are classes of their own, some of which are no nn.Linear; all that are known have its sizes.
    return isinstance(module, (nn.Linear, Conv1D)) or (
        isinstance(getattr(module, "in_features", None), int) and isinstance(getattr(module, "out_features", None), int)
    )


def _in_words(counts: Mapping[str, int]) -> str:
    stacks = [f"{count} layers" + (f" in {stack}" if len(counts) > 1 else "") for stack, count in counts.items()]
    return " and ".join(stacks) or "no layers"


def _check_fused(placement: str | Placement, roles: Placement, present: set[str], model_type: str | None) -> None:
    """Refuse a role that the model has only as a part of another, or only in parts."""
    for fused, parts in FUSED.items():
        asked = [part for part in parts if part in roles.names]
        if fused in present and asked and fused not in roles.names:
            raise ValueError(
                f"placement={placement!r} asks for {' and '.join(asked)}, but a {model_type!r} model has "
                f"{', '.join(parts)} in one matrix, which is adapted as a whole: ask for {fused}"
            )
        apart = [part for part in parts if part in present]
        if fused in roles.names and fused not in present and apart and not asked:
            raise ValueError(
                f"placement={placement!r} asks for {fused}, but a {model_type!r} model has {' and '.join(apart)} "
                f"apart: ask for {'+'.join(apart)}"
            )


def _warn_of_half(placement: str | Placement, roles: Placement, present: set[str], model_type: str | None) -> None:
    """Warn if a placement of attention and MLP finds only one of them, as with experts that are parameters."""
    found = roles.names & present
    for half, own, other, others in (("attention", ATTENTION, "MLP", MLP), ("MLP", MLP, "attention", ATTENTION)):
        if found & {*own} and roles.names & {*others} and not present & {*others}:
            warnings.warn(
                f"placement={placement!r} adapts the {half} of a {model_type!r} model alone: no linear module of it "
                f"has a role in the {other}",
                stacklevel=3,
            )


def _unknown_family(model_type: str | None, names: list[str]) -> str:
    kinds = list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in names))
    return (
        f"the roles of the modules of a model of type {model_type!r} are not known (known: "
        f"{', '.join(known_families())}); its linear modules end in: {', '.join(kinds) or 'none'}. Name the targets, "
        'as in target_modules=["query", "value"] or "all-linear", or the roles, as in '
        f'lrlora.policies.register_family({model_type!r}, {{"attn.query": "q", ...}})'
    )

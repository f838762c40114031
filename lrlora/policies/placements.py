"""Which modules of the model are adapted, by the role they play."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from lrlora.policies.layer_choices import LayerChoice
from lrlora.policies.roles import ATTENTION, MLP, ROLES, depth_of, known_families, role_of
from lrlora.policies.tables import LAYER_CHOICES, PLACEMENTS


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


def everywhere() -> Placement:
    """Every projection of attention and MLP, as published. The head and the embeddings are left alone."""
    return Placement("+".join(ROLES))


def attention() -> Placement:
    """q, k, v and o."""
    return Placement("+".join(ATTENTION))


def mlp() -> Placement:
    """gate, up and down."""
    return Placement("+".join(MLP))


def qkv() -> Placement:
    """q, k and v."""
    return Placement("q+k+v+qkv")


def gate_up() -> Placement:
    """gate and up; in an MLP of two matrices, up."""
    return Placement("gate+up+gate_up")


def resolve_target_modules(
    model: nn.Module,
    placement: str | Placement = "all",
    layers: str | Sequence[int] | LayerChoice = "all",
    among: Collection[str] | None = None,
) -> list[str]:
    """The full names of the modules that a placement and a choice of layers adapt, in the model's order.

    Args:
        model: A transformers model (or anything whose ``config.model_type`` is a known family).
        placement: Roles.
        layers: Layers.
        among: Restrict to these full names. With ``placement="all"`` they need have no role.

    Raises:
        ValueError: An unknown family, with its linear modules and how to name their roles; or no module is left.
    """
    roles = PLACEMENTS.create(placement)
    chosen = as_layer_choice(layers)
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    names = linear_module_names(model)
    all_roles = {name: role_of(name, model_type) for name in names}
    if not any(all_roles.values()) and (among is None or roles != everywhere()):
        raise ValueError(_unknown_family(model_type, names))
    num_layers = count_layers(names)
    if among is None or roles != everywhere():
        names = [name for name in names if all_roles[name] in roles.names]
    if among is not None:
        names = [name for name in names if name in among]
    if chosen != LAYER_CHOICES.create("all"):
        names = [name for name in names if (depth := depth_of(name)) is not None and chosen.has(depth, num_layers)]
    if not names:
        raise ValueError(
            f"no module is left to adapt: placement={placement!r} and layers={layers!r} on a {model_type!r} model "
            f"of {num_layers} layers" + (" within the target_modules that were given" if among is not None else "")
        )
    return names


def as_layer_choice(layers: str | Sequence[int] | LayerChoice) -> LayerChoice:
    """A layer choice from its spec, from a list of indices, or from itself."""
    if isinstance(layers, Sequence) and not isinstance(layers, str):
        if not layers or not all(isinstance(index, int) and index >= 0 for index in layers):
            raise ValueError(f"layers is a spec or a list of layer indices that are not negative, not {layers!r}")
        return LAYER_CHOICES.create("indices:" + "+".join(map(str, layers)))
    return LAYER_CHOICES.create(layers)


def linear_module_names(model: nn.Module) -> list[str]:
    """Full names of the modules that hold a matrix φ can be added to; an adapted module counts under its own name."""
    names = []
    for name, module in model.named_modules():
        inside_adapter = ".base_layer" in name or name.startswith("base_layer")
        # PEFT's adapted layers are known by this method; importing its classes here would tie policies to it.
        base = module.get_base_layer() if hasattr(module, "get_base_layer") else module
        if name and not inside_adapter and isinstance(base, (nn.Linear, Conv1D)):
            names.append(name)
    return names


def count_layers(names: Collection[str]) -> int:
    """The number of layers that modules of these names lie in."""
    return 1 + max((depth for name in names if (depth := depth_of(name)) is not None), default=-1)


def _unknown_family(model_type: str | None, names: list[str]) -> str:
    # One line per kind of module would be long for a deep model: name each kind once, with the first layer's index.
    kinds = list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in names))
    return (
        f"the roles of the modules of a model of type {model_type!r} are not known (known: "
        f"{', '.join(known_families())}); its linear modules end in: {', '.join(kinds) or 'none'}. Name the targets, "
        'as in target_modules=["query", "value"] or "all-linear", or the roles, as in '
        f'lrlora.policies.register_family({model_type!r}, {{"attn.query": "q", ...}})'
    )

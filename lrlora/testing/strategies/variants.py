"""Tiny models, and configurations of adapters for them that are valid by construction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st

from lrlora.bases import BASES
from lrlora.policies import GRIDS, RANKS, Start, resolve_target_modules
from lrlora.policies import KINDS as POLICY_KINDS
from lrlora.testing.strategies.functions import named_bases
from lrlora.testing.tiny_models import KINDS, TinyModel, seeded
from lrlora.tuner.config import LRLoraConfig
from lrlora.tuner.presets import PRESETS

_WITH_ARGUMENTS = {
    "rank_allocation": ["linear_decay:1"],
    "sharing": ["parts:grid+amplitude"],
    "placement": ["roles:up+down"],
    "layers": ["indices:0"],
    "amplitude_init": ["small:0.5"],
    "bandwidth_init": ["constant:2.0"],
    "input_scale": ["constant:1.0", "constant:200.0"],
}
"""Specs beside the names that need no argument."""
_NUMBERS: dict[str, list[Any]] = {
    "preset": list(PRESETS),
    "r": [1, 2, 3, 4],
    "num_grid_points": [1, 2, 3, 4, 5, 6],
    "grid_bound": [1.0, 3.0, 8.0],
    "lora_alpha": [1.0, 4.0],
    "lora_dropout": [0.5],
    "learn_bandwidth": [False],
    "learn_amplitude": [False],
    "centered": [False, True],
    "residual": [False, True],
    "transfer_lr_scale": [1.0, 0.0],
    "init_weights": [False],
    "engine": ["auto", "direct", "tabulated"],
    "engine_tolerance": [2e-3, 1e-4],
}
"""Values of the other fields."""


def tiny_models(*, kinds: Sequence[str] = KINDS, max_layers: int = 2) -> st.SearchStrategy[TinyModel]:
    """Tiny models: plain layers, and transformers of one layer or two.

    Args:
        kinds: Of :data:`~lrlora.testing.tiny_models.KINDS`, to choose from.
        max_layers: Largest number of layers.

    Returns:
        A strategy of recipes; ``build()`` makes the model. Shrinks to one linear layer.
    """
    return st.builds(TinyModel, st.sampled_from(list(kinds)), st.integers(1, max_layers))


@st.composite
def variants(draw: st.DrawFn, /, model: TinyModel | None = None, **fields: st.SearchStrategy[Any]) -> LRLoraConfig:
    """Whole configurations, over every policy axis, basis, preset, engine, scale and rank.

    Every one is accepted by :class:`lrlora.LRLoraConfig` and, if a model is given, by that model, without a warning.

    Args:
        draw: Supplied by hypothesis.
        model: What is to be adapted: its targets are named where it has no roles. None: any placement and layers.
        **fields: Strategies that take the place of those of single fields; what they draw is not checked.

    Returns:
        A strategy of configurations. Shrinks to ``LRLoraConfig()``: a field that does not matter is left out.
    """
    name, options = draw(named_bases())
    specs = _NUMBERS | {
        field: [*registry.complete_names(), *_WITH_ARGUMENTS.get(field, ())] for field, registry in POLICY_KINDS.items()
    }
    targets = None if model is None else model.targets
    if targets is not None:  # a model without roles
        del specs["placement"], specs["layers"]
        specs["rank_allocation"] = [spec for spec in specs["rank_allocation"] if _needs_no_roles(spec)]
    # Of the basis it is drawn whether it takes the place of the default.
    optional: dict[str, Any] = {field: st.sampled_from(values) for field, values in specs.items()}
    chosen: dict[str, Any] = draw(st.fixed_dictionaries({}, optional={"basis": st.just(name), **optional}))
    if "basis" in chosen and options:
        chosen["basis_kwargs"] = options
    chosen |= {field: draw(strategy) for field, strategy in fields.items()}
    if targets is not None:
        chosen["target_modules"] = targets
    elif model is not None:
        for field in ("layers", "placement"):  # left out in turn, where no module of the model is in both
            if not _resolves(model, chosen.get("placement", "all"), chosen.get("layers", "all")):
                chosen.pop(field, None)
    _make_valid(chosen, fields)
    return draw(st.builds(LRLoraConfig, **{field: st.just(value) for field, value in chosen.items()}))


def _make_valid(chosen: dict[str, Any], given: dict[str, Any]) -> None:
    """Put right the few pairs of choices that a configuration refuses or warns of, by the simplest other one."""
    basis = BASES.create(chosen.get("basis", "sinc"), **chosen.get("basis_kwargs", {}))
    if "grid" in chosen and "grid" not in given and GRIDS.create(chosen["grid"]).learned and not basis.uses_grid:
        chosen["grid"] = "uniform"
    preset = PRESETS[chosen.get("preset", "default")]
    start, centered, residual = (
        chosen.get(field, preset[field]) for field in ("amplitude_init", "centered", "residual")
    )
    nothing_trains = start == "zero" and centered and not residual
    if "amplitude_init" not in given and (nothing_trains or _start_warns(start, chosen)):
        chosen["amplitude_init"] = "small"


def _start_warns(spec: Any, chosen: dict[str, Any]) -> bool:
    """Whether the amplitudes' start says that this basis does not suit it, on any grid that may be drawn."""
    if spec == "zero":
        return False
    config = LRLoraConfig(**{**chosen, "amplitude_init": spec, "residual": True})
    with warnings.catch_warnings(record=True) as said, seeded():
        warnings.simplefilter("always")
        points = config.policy("grid").points(config.num_grid_points, config.grid_bound)
        for depth in (0.0, 1.0):
            omega = points.new_full(points.shape, config.policy("bandwidth_init").value(depth))
            start = Start(config.make_basis(), points, omega, config.grid_bound, depth)
            config.policy("amplitude_init").values(start)
    # A random grid is another one later, of which nothing is known now.
    return bool(said) or (str(spec).startswith("identity") and str(chosen.get("grid")) == "random")


@cache
def _resolves(model: TinyModel, placement: str, layers: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return bool(resolve_target_modules(model.build(), placement, layers))
        except (ValueError, UserWarning):
            return False


def _needs_no_roles(spec: str) -> bool:
    try:
        RANKS.create(spec).rank(8, None, 0, 1)
    except ValueError:
        return False
    return True

"""Tiny models, and configurations of adapters for them that are valid by construction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from hypothesis import strategies as st

from lrlora.bases import BASES
from lrlora.policies import GRIDS, RANKS, Start, resolve_target_modules
from lrlora.testing.check_policy import KINDS as POLICY_KINDS
from lrlora.testing.strategies.functions import named_bases
from lrlora.testing.tiny_models import KINDS, TinyModel, seeded
from lrlora.tuner.config import LRLoraConfig
from lrlora.tuner.presets import PRESETS

_WITH_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "rank_allocation": ("linear_decay:1",),
    "sharing": ("parts:grid+amplitude",),
    "placement": ("roles:up+down",),
    "layers": ("indices:0",),
    "amplitude_init": ("small:0.5",),
    "bandwidth_init": ("constant:2.0",),
    "input_scale": ("constant:1.0", "constant:200.0"),
}
"""Specs beside the names that need no argument."""


@st.composite
def tiny_models(draw: st.DrawFn, *, kinds: Sequence[str] = KINDS, max_layers: int = 2) -> TinyModel:
    """Tiny models: plain layers, and transformers of one layer or two.

    Args:
        draw: Supplied by hypothesis.
        kinds: Of :data:`~lrlora.testing.tiny_models.KINDS`, to choose from.
        max_layers: Largest number of layers.

    Returns:
        A strategy of recipes; ``build()`` makes the model. Shrinks to one linear layer.
    """
    kind, layers = draw(st.sampled_from(list(kinds))), draw(st.integers(1, max_layers))
    if kind in ("conv1d", "embedding"):
        layers = 1  # drawn in any case, so that these are not the simplest for being drawn in one choice
    made: TinyModel = draw(st.builds(TinyModel, st.just(kind), st.just(layers)))
    return made


@st.composite
def variants(
    draw: st.DrawFn, /, model: TinyModel | None = None, *, max_points: int = 6, **fields: st.SearchStrategy[Any]
) -> LRLoraConfig:
    """Whole configurations, over every policy axis, basis, preset, engine, scale and rank.

    Every one is accepted by :class:`lrlora.LRLoraConfig` and, if a model is given, by that model, without a warning.
    Engines are those that evaluate every function; pass ``engine=st.sampled_from([...])`` for others, which may refuse.

    Args:
        draw: Supplied by hypothesis.
        model: What is to be adapted: its targets are named where it has no roles. None: any placement and layers.
        max_points: Largest N.
        **fields: Strategies that take the place of those of single fields; what they draw is not checked.

    Returns:
        A strategy of configurations. Shrinks to ``LRLoraConfig()``: a field that does not matter is left out.
    """
    name, options = draw(named_bases())
    chosen: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=_strategies(model, max_points)))
    if "basis" in chosen:
        del chosen["basis"]
        chosen |= {"basis": name, **({"basis_kwargs": options} if options else {})}
    chosen |= {field: draw(strategy) for field, strategy in fields.items()}
    if "layers" in chosen or "placement" in chosen:
        _keep_together(chosen, model)
    if model is not None and model.targets is not None:
        chosen["target_modules"] = model.targets
    _make_valid(chosen, fields)
    made: LRLoraConfig = draw(st.builds(LRLoraConfig, **{field: st.just(value) for field, value in chosen.items()}))
    return made


def _strategies(model: TinyModel | None, max_points: int) -> dict[str, st.SearchStrategy[Any]]:
    found: dict[str, st.SearchStrategy[Any]] = {
        "basis": st.just(True),  # whether the one that was drawn is used, and not the default
        "preset": st.sampled_from(list(PRESETS)),
        "r": st.integers(1, 4),
        "num_grid_points": st.integers(1, max_points),
        "grid_bound": st.sampled_from([1.0, 3.0, 8.0]),
        "lora_alpha": st.sampled_from([1.0, 4.0]),
        "lora_dropout": st.just(0.5),
        "learn_bandwidth": st.just(False),
        "learn_amplitude": st.just(False),
        "centered": st.booleans(),
        "residual": st.booleans(),
        "transfer_lr_scale": st.sampled_from([1.0, 0.0]),
        "init_weights": st.just(False),
        "engine": st.sampled_from(["auto", "direct", "tabulated"]),
        "engine_tolerance": st.sampled_from([2e-3, 1e-4]),
    }
    for field, registry in ((kind.registry.kind, kind.registry) for kind in POLICY_KINDS):
        specs = [*registry.complete_names(), *_WITH_ARGUMENTS.get(field, ())]
        if field in ("placement", "layers") and model is not None and model.targets is not None:
            continue  # a model without roles has its targets named
        if field == "rank_allocation" and model is not None and model.targets is not None:
            specs = [spec for spec in specs if _needs_no_roles(spec)]
        found[field] = st.sampled_from(specs)
    return found


def _make_valid(chosen: dict[str, Any], given: dict[str, Any]) -> None:
    """Put right the few pairs of choices that a configuration refuses or warns of, by the simplest other one."""
    basis = BASES.create(chosen.get("basis", "sinc"), **chosen.get("basis_kwargs", {}))
    if "grid" in chosen and "grid" not in given and GRIDS.create(chosen["grid"]).learned and not basis.uses_grid:
        chosen["grid"] = "uniform"
    preset = PRESETS[chosen.get("preset", "default")]
    effective = {field: chosen.get(field, preset[field]) for field in ("amplitude_init", "centered", "residual")}
    nothing_trains = effective["amplitude_init"] == "zero" and effective["centered"] and not effective["residual"]
    if "amplitude_init" not in given and (nothing_trains or _start_warns(effective["amplitude_init"], chosen)):
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
            omega = torch.full_like(points, config.policy("bandwidth_init").value(depth))
            start = Start(config.make_basis(), points, omega, config.grid_bound, depth)
            config.policy("amplitude_init").values(start)
    # A random grid is another one later, of which nothing is known now.
    return bool(said) or (str(spec).startswith("identity") and str(chosen.get("grid")) == "random")


def _keep_together(chosen: dict[str, Any], model: TinyModel | None) -> None:
    """Leave the layers out, and then the placement, where the model has no module that is in both."""
    if model is None or model.targets is not None:
        return
    for field in ("layers", "placement"):
        if _resolves(model, chosen.get("placement", "all"), chosen.get("layers", "all")):
            return
        chosen.pop(field, None)


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

"""Tiny models, and configurations of adapters for them that are valid."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from peft import get_peft_model

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
        **fields: Strategies that take the place of those of single fields.

    Returns:
        A strategy of configurations. Shrinks to ``LRLoraConfig()``: a field that does not matter is left out.
    """
    name, options = draw(named_bases())
    specs = _NUMBERS | {
        field: [*registry.complete_names(), *_WITH_ARGUMENTS.get(field, ())] for field, registry in POLICY_KINDS.items()
    }
    optional: dict[str, Any] = {field: st.sampled_from(values) for field, values in specs.items()}
    if model is not None and model.targets is not None:  # a model without roles
        del optional["placement"], optional["layers"]
        fields = {"target_modules": st.just(model.targets), **fields}
    # Of the basis it is drawn whether it takes the place of the default.
    chosen: dict[str, Any] = draw(st.fixed_dictionaries({}, optional={"basis": st.just(name), **optional}))
    if "basis" in chosen and options:
        chosen["basis_kwargs"] = options
    chosen |= {field: draw(strategy) for field, strategy in fields.items()}
    assume(_is_accepted(chosen, model))
    return draw(st.builds(LRLoraConfig, **{field: st.just(value) for field, value in chosen.items()}))


def _is_accepted(chosen: dict[str, Any], model: TinyModel | None) -> bool:
    """Whether the configuration, and the model that it is for, say nothing against it."""
    start = chosen.get("amplitude_init", PRESETS[chosen.get("preset", "default")]["amplitude_init"])
    if str(start).startswith("identity") and chosen.get("grid") == "random":
        return False  # the grid is another one later, of which nothing is known now
    if model is None:  # any plain layer; what asks for roles is left to the model that it is for
        model, of_roles = TinyModel(), ("placement", "layers", "rank_allocation")
        chosen = {field: value for field, value in chosen.items() if field not in of_roles}
        chosen["target_modules"] = model.targets
    with warnings.catch_warnings(), seeded():
        warnings.simplefilter("error", UserWarning)
        try:
            get_peft_model(model.build(), LRLoraConfig(**chosen))
        except (ValueError, UserWarning):
            return False
    return True

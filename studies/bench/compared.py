"""Which methods are compared: LR-LoRA with each basis, and PEFT's methods, all at one rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lrlora.studies.methods import METHODS, make_method

REFERENCE = "lora"
"""The method that every ratio is to; it is always measured."""

Configs = dict[str, dict[str, Any]]
"""Configurations as studies write them, by the name of the basis or of the method."""


def compared_methods(
    bases: Sequence[str], beside: Sequence[str], r: int, engine: str | None = None, grid_points: int | None = None
) -> Configs:
    """Returns the configurations to compare, LoRA first, each checked without a model.

    Args:
        bases: Specs of bases, an LR-LoRA each.
        beside: Names of other methods of studies.
        r: The rank of all that have one; their alpha is the same number, where they have one.
        engine: LR-LoRA's engine; None leaves the choice to its default.
        grid_points: LR-LoRA's N; None leaves it at its default.

    Raises:
        UnknownNameError: No such basis, method or engine; with the nearest there is.
        StudyError: A value that cannot be.
    """
    configs: Configs = {}
    for name in dict.fromkeys([REFERENCE, *beside]):
        known = METHODS.get(name).fields()  # type: ignore[attr-defined]
        configs[name] = {"method": name, **{key: r for key in ("r", "lora_alpha", "alpha") if key in known}}
    for basis in dict.fromkeys(bases):
        configs[basis] = lrlora_config(basis, r, engine, grid_points)
    for config in configs.values():
        make_method(config, "bench")
    return configs


def lrlora_config(basis: str, r: int, engine: str | None = None, grid_points: int | None = None) -> dict[str, Any]:
    """Returns the configuration of an LR-LoRA; see :func:`compared_methods`."""
    chosen = {"engine": engine, "num_grid_points": grid_points}
    given = {key: value for key, value in chosen.items() if value is not None}
    return {"method": "lrlora", "r": r, "lora_alpha": r, "basis": basis, **given}


def read_names(given: Sequence[str]) -> list[str]:
    """Returns the names in an option that may be repeated and may hold several with commas between.

    A value with a colon is one basis with its options and is taken whole.

    >>> read_names(["sinc, gaussian", "bspline:2"])
    ['sinc', 'gaussian', 'bspline:2']
    """
    names = [name.strip() for text in given for name in ([text] if ":" in text else text.split(","))]
    return [name for name in names if name]

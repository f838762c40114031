"""Diagnostics of one saved adapter: the measures of its layers and the curves of its φ."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from lrlora.analysis import LayerReport, layer_report
from lrlora.policies.roles import ROLES
from lrlora.studies.inspection.landscape import Landscape
from lrlora.studies.training.snapshots import representative_curves

SETTINGS = ("r", "lora_alpha", "basis", "num_grid_points", "grid", "sharing", "input_scale", "residual", "centered")
"""Fields of a configuration that are shown, if the method has them."""


@dataclass(frozen=True)
class Inspection:
    """The diagnostics of a saved adapter.

    Attributes:
        adapter: Its folder.
        method: ``"LRLORA"``, ``"LORA"``, …
        base: The base model that its configuration names.
        settings: By name, those of :data:`SETTINGS`, as text.
        layers: The measures of each layer.
        curves: φ of early, middle and late layers, as a run records them.
        landscape: The loss around the adapter, where it was asked for.
    """

    adapter: str
    method: str
    base: str
    settings: Mapping[str, str]
    layers: Sequence[LayerReport]
    curves: Sequence[Mapping[str, Any]]
    landscape: Landscape | None = None

    @property
    def has_transfer(self) -> bool:
        """Whether there is a φ."""
        return any(layer.input_scale is not None for layer in self.layers)

    @property
    def straight(self) -> list[LayerReport]:
        """The layers whose φ is linear."""
        return [layer for layer in self.layers if layer.is_linear]

    def as_json(self) -> dict[str, Any]:
        """Returns the inspection as plain data."""
        layers = [dataclasses.asdict(layer) | {"straight_line": layer.is_linear} for layer in self.layers]
        return {
            "adapter": self.adapter,
            "method": self.method,
            "base": self.base,
            "settings": dict(self.settings),
            "headline": headline(self),
            "layers": layers,
            "curves": list(self.curves),
            "landscape": dataclasses.asdict(self.landscape) if self.landscape else None,
        }


def inspect_adapter(model: Any, adapter: str | Path, base: str = "", landscape: Landscape | None = None) -> Inspection:
    """Compute the diagnostics of an adapter.

    Args:
        model: With the adapter, as :func:`lrlora.studies.inspection.open_adapter` gives it.
        adapter: Its folder, to be named.
        base: Its base model, to be named.
        landscape: The loss around it.
    """
    config = model.peft_config["default"]
    found = config.to_dict()
    layers = sorted(layer_report(model), key=_place)
    return Inspection(
        adapter=str(adapter),
        method=str(getattr(config.peft_type, "value", config.peft_type)),
        base=base,
        settings={name: _text(found[name]) for name in SETTINGS if found.get(name) is not None},
        layers=layers,
        curves=representative_curves(model, [layer.module for layer in layers]),
        landscape=landscape,
    )


def headline(inspection: Inspection) -> str:
    """Returns the ranks of ΔW and the number of layers with a linear φ, in a sentence or two."""
    layers = inspection.layers
    ranks = [layer.stable_rank for layer in layers if layer.stable_rank is not None]
    if broken := [layer.module for layer in layers if not math.isfinite(layer.stable_rank or 0.0)]:
        return f"ΔW is not finite in {len(broken)} of {len(layers)} layers, in {broken[0]} first: training diverged."
    said = f"ΔW has a stable rank of {spread(ranks)} over {len(ranks)} layers"
    if not inspection.has_transfer:
        return f"{said}. There is no φ in this method, {inspection.method}."
    straight = inspection.straight
    if not straight:
        return f"{said}, and φ is nonlinear in all of them."
    where = "every layer" if len(straight) == len(layers) else f"{len(straight)} of {len(layers)} layers"
    return f"{said}. φ is linear in {where}: there, this adapter is equivalent to LoRA."


def note(layer: LayerReport) -> str:
    """Returns a note on a layer with a linear φ; empty for others."""
    if not layer.is_linear:
        return ""
    if layer.bends_at is None:
        return "linear at any input scale"
    return f"linear; would be nonlinear at input scale ≈ {float(f'{layer.bends_at:.2g}'):g}"


def spread(values: Sequence[float]) -> str:
    """Returns mean ± standard deviation."""
    if not values:
        return "–"
    if not all(map(math.isfinite, values)):
        return "not finite"
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def _place(layer: LayerReport) -> tuple[Any, ...]:
    """Returns a sort key: by depth, and within a layer in the order of the computation."""
    role = ROLES.index(layer.role) if layer.role in ROLES else len(ROLES)
    return layer.depth is None, layer.depth or 0, role, layer.module


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

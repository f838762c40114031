"""Diagnostics of the adapted layers, summarised over the layers and seeds of a variant."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any

from lrlora.studies.stats.source import Record, finite

ATTENTION_ROLES = frozenset({"q", "k", "v", "o", "qkv"})
MLP_ROLES = frozenset({"gate", "up", "down", "gate_up"})

LINEAR = 0.01
"""Nonlinear fraction below which a φ counts as linear: it does nothing that a constant factor does not."""


@dataclass(frozen=True)
class LayerSummary:
    """Diagnostics of a variant's layers; None where no layer reports them.

    Attributes:
        layers: Number of adapted modules.
        stable_rank: Mean over layers of the stable rank of ΔW, each layer averaged over seeds first.
        stable_rank_std: Its standard deviation over layers.
        nonlinear_fraction: Mean over layers and seeds.
        nonlinear_fraction_max: Largest of any layer and seed.
        max_abs_z: Largest |s_in·BA| of any layer and seed.
        outside_grid: Mean fraction of the entries of s_in·BA that lie outside the grid.
        evaluations: How φ was evaluated, with the number of layers and seeds, the commonest first.
        evaluation_error: Largest relative error of ΔW that evaluation made, as measured, of any layer and seed.
    """

    layers: int
    stable_rank: float | None
    stable_rank_std: float | None
    nonlinear_fraction: float | None
    nonlinear_fraction_max: float | None
    max_abs_z: float | None
    outside_grid: float | None
    evaluations: Mapping[str, int]
    evaluation_error: float | None = None


def group_of(role: str | None) -> str:
    """The half of a transformer block that a role belongs to: ``attention``, ``mlp`` or ``other``."""
    if role in ATTENTION_ROLES:
        return "attention"
    return "mlp" if role in MLP_ROLES else "other"


def summarise_layers(records: Sequence[Record]) -> LayerSummary | None:
    """Summarise the layers of all finished cells; None where none was recorded."""
    by_module: dict[str, list[float]] = defaultdict(list)
    values: dict[str, list[float]] = defaultdict(list)
    modules: set[str] = set()
    evaluations: Counter[str] = Counter()
    for layer in _layers(records):
        modules.add(str(layer.get("module")))
        if layer.get("evaluation"):
            # The range, which differs in every layer, is given by max |z| already.
            evaluations[str(layer["evaluation"]).partition(" on ")[0]] += 1
        for field in ("stable_rank", "nonlinear_fraction", "max_abs_z", "outside_grid", "evaluation_error"):
            value = finite(layer.get(field))
            if value is not None:
                values[field].append(value)
                if field == "stable_rank":
                    by_module[str(layer.get("module"))].append(value)
    if not modules:
        return None
    ranks = [fmean(found) for found in by_module.values()]
    fractions, outside = values["nonlinear_fraction"], values["outside_grid"]
    return LayerSummary(
        layers=len(modules),
        stable_rank=fmean(ranks) if ranks else None,
        stable_rank_std=stdev(ranks) if len(ranks) > 1 else None,
        nonlinear_fraction=fmean(fractions) if fractions else None,
        nonlinear_fraction_max=max(fractions, default=None),
        max_abs_z=max(values["max_abs_z"], default=None),
        outside_grid=fmean(outside) if outside else None,
        evaluations=dict(evaluations.most_common()),
        evaluation_error=max(values["evaluation_error"], default=None),
    )


@dataclass(frozen=True)
class LinearLayers:
    """How many of a variant's layers have a linear φ.

    Attributes:
        straight: Layers with a nonlinear fraction below 1 %, averaged over finished runs.
        layers: Layers with a recorded nonlinear fraction.
        proposed: Median over the linear layers of the input scale at which their φ would be nonlinear; None if no
            record has it.
    """

    straight: int
    layers: int
    proposed: float | None


def linear_layers(records: Sequence[Record]) -> LinearLayers | None:
    """Count the layers with a linear φ, which a mean can hide; None if no nonlinear fraction was recorded."""
    fractions: dict[str, list[float]] = defaultdict(list)
    scales: dict[str, list[float]] = defaultdict(list)
    for layer in _layers(records):
        module = str(layer.get("module"))
        if (fraction := finite(layer.get("nonlinear_fraction"))) is not None:
            fractions[module].append(fraction)
        if (scale := finite(layer.get("bends_at"))) is not None:
            scales[module].append(scale)
    if not fractions:
        return None
    linear = [module for module, found in fractions.items() if fmean(found) < LINEAR]
    proposed = [fmean(scales[module]) for module in linear if module in scales]
    return LinearLayers(len(linear), len(fractions), median(proposed) if proposed else None)


def by_depth(records: Sequence[Record], field: str, group: str) -> list[tuple[int, float]]:
    """A diagnostic against depth, averaged over the modules of the group and over finished cells.

    Returns:
        (depth, mean) in increasing depth; empty where nothing was recorded.
    """
    values: dict[int, list[float]] = defaultdict(list)
    for layer in _layers(records):
        depth, value = layer.get("depth"), finite(layer.get(field))
        if depth is not None and value is not None and group_of(layer.get("role")) == group:
            values[int(depth)].append(value)
    return [(depth, fmean(values[depth])) for depth in sorted(values)]


def median_spectra(records: Sequence[Record]) -> dict[str, list[float]]:
    """By role, σ_k / σ_1 of ΔW at each recorded relative index: the median over modules and finished cells.

    That is how the LR-LoRA paper aggregates them (Appendix G.2). Roles in the order in which they come.
    """
    found: dict[str, list[Sequence[float]]] = defaultdict(list)
    for layer in _layers(records):
        spectrum = layer.get("spectrum")
        if spectrum and layer.get("role") and all(finite(value) is not None for value in spectrum):
            found[str(layer["role"])].append(spectrum)
    return {role: [median(values) for values in zip(*spectra, strict=True)] for role, spectra in found.items()}


def first_snapshots(records: Sequence[Record]) -> Sequence[Mapping[str, Any]]:
    """The snapshots of the layers during the first run that finished; empty if there are none."""
    for record in records:
        if record.get("status") == "finished" and record.get("snapshots"):
            return record["snapshots"]  # type: ignore[no-any-return]
    return ()


def _layers(records: Sequence[Record]) -> Iterator[Mapping[str, Any]]:
    """The layers of all finished runs."""
    for record in records:
        if record.get("status") == "finished":
            yield from record.get("layers") or ()

"""Layers whose φ stayed a straight line, counted one by one: a mean over layers can hide that most did nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from lrlora.studies.report.source import Record, finite
from lrlora.studies.report.summary import STRAIGHT_LINE


@dataclass(frozen=True)
class StraightLayers:
    """How many of a variant's layers have a φ that does nothing that a constant factor does not.

    Attributes:
        straight: Layers with a nonlinear fraction below 1 %, averaged over finished cells.
        layers: Layers with a recorded nonlinear fraction.
        proposed: Median over the straight layers of the input scale at which their φ would bend; None where no record
            says so.
    """

    straight: int
    layers: int
    proposed: float | None


def straight_layers(records: Sequence[Record]) -> StraightLayers | None:
    """Count the straight lines of a variant; None where no nonlinear fraction was recorded."""
    fractions: dict[str, list[float]] = defaultdict(list)
    scales: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if record.get("status") != "finished":
            continue
        for layer in record.get("layers") or ():
            module = str(layer.get("module"))
            if (fraction := finite(layer.get("nonlinear_fraction"))) is not None:
                fractions[module].append(fraction)
            if (scale := finite(layer.get("bends_at"))) is not None:
                scales[module].append(scale)
    if not fractions:
        return None
    straight = [module for module, found in fractions.items() if fmean(found) < STRAIGHT_LINE]
    proposed = [fmean(scales[module]) for module in straight if module in scales]
    return StraightLayers(len(straight), len(fractions), median(proposed) if proposed else None)

"""Parts of the report's figures: their size, rows of variants, and curves thinned to what a page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrlora.studies.report.svg import new_figure

WIDTH = 430.0
ROW = 23.0
LONGEST_LABEL = 24
POINTS_PER_CURVE = 200


@dataclass(frozen=True)
class PlotText:
    """A figure with its caption and legend.

    Attributes:
        name: Its anchor.
        svg: The drawing.
        caption: Its content and how it was computed.
        legend: The variants drawn as lines; empty where the axis names them.
        points: Whether they are drawn as points instead.
    """

    name: str
    svg: str
    caption: str
    legend: tuple[str, ...] = ()
    points: bool = False


def rows_figure(names: Sequence[str]) -> tuple[Any, Any]:
    """A figure with one row per name, first on top."""
    figure = new_figure(WIDTH, 52 + ROW * max(2, len(names)))
    axes = figure.subplots()
    axes.set_yticks(range(len(names)), [short_name(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return figure, axes


def finish(axes: Any, x: str, y: str) -> None:
    """Label the axes and draw the grid behind everything."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y")


def short_name(name: str) -> str:
    """A name shortened for a figure, without the characters that matplotlib reads as mathematics."""
    # Generated names differ at their ends ("r=4,basis=sinc"), so what is left out is in the middle.
    if len(name) > LONGEST_LABEL:
        name = f"{name[:9]}…{name[10 - LONGEST_LABEL :]}"
    return name.replace("$", r"\$")


def smoothed(values: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Moving average; each point is at the middle of its window, in steps counted from 1."""
    mean = np.convolve(values, np.full(window, 1 / window), mode="valid")
    return np.arange(len(mean)) + (window + 1) / 2, mean


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most :data:`POINTS_PER_CURVE` points; the ends stay."""
    if len(x) <= POINTS_PER_CURVE:
        return x, y
    keep = np.unique(np.linspace(0, len(x) - 1, POINTS_PER_CURVE).round().astype(int))
    return x[keep], y[keep]

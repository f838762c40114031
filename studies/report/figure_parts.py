"""Parts of the report's figures: their size, rows of variants, intervals, and curves thinned to what a page shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrlora.studies.report.svg import drawing_style, new_figure
from lrlora.studies.stats.paired import Estimate, PairedDifference

WIDTH = 430.0
HEIGHT = 235.0
ROW = 23.0
LONGEST_LABEL = 24
POINTS_PER_CURVE = 200
DOTTED = (0, (1, 2))
PANELS = 3
"""Panels in a row."""


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


@contextmanager
def drawing(
    name: str, height: float = HEIGHT, rows: int = 1, columns: int = 1, width: float = WIDTH, **shared: Any
) -> Iterator[Any]:
    """A figure in the report's style and its axes; an array of them if there are several or ``squeeze`` is False."""
    with drawing_style(name):
        figure = new_figure(width, height)
        yield figure, figure.subplots(rows, columns, **shared)


@contextmanager
def drawing_panels(
    name: str, count: int, edges: float, row: float, width: float = WIDTH, sharey: bool = True
) -> Iterator[Any]:
    """A figure with three panels to a row, and a list of their axes, which share x.

    Args:
        name: Of the figure.
        count: Number of panels.
        edges: Height of the figure beside its rows, in points.
        row: Height of a row of panels, in points.
        width: Of the figure, in points.
        sharey: Whether panels share y.
    """
    columns = min(PANELS, count)
    rows = -(-count // columns)
    grid = drawing(name, edges + row * rows, rows, columns, width, sharex=True, sharey=sharey, squeeze=False)
    with grid as (figure, panels):
        for axes in panels.flat[count:]:
            axes.set_visible(False)
        yield figure, list(panels.flat[:count])


def is_lowest(place: int, count: int) -> bool:
    """Whether a panel of :func:`drawing_panels` has none below it."""
    return place + min(PANELS, count) >= count


@contextmanager
def drawing_rows(name: str, labels: Sequence[str]) -> Iterator[Any]:
    """A figure with one row per label, first on top, and its axes."""
    with drawing(name, 52 + ROW * max(2, len(labels))) as (figure, axes):
        axes.set_yticks(range(len(labels)), [short_name(label) for label in labels])
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        yield figure, axes


def draw_interval(
    axes: Any, found: Estimate | PairedDifference, at: float, factor: float, upright: bool = False, **look: Any
) -> list[float]:
    """Draw the interval of an estimate, if it has one, and return its ends as drawn.

    Args:
        axes: Where.
        found: The estimate.
        at: Its place on the other axis.
        factor: What values are multiplied by.
        upright: Whether the line is vertical.
        look: Properties of the line.
    """
    if found.low is None or found.high is None:
        return []
    ends, place = [found.low * factor, found.high * factor], [at, at]
    x, y = (place, ends) if upright else (ends, place)
    axes.plot(x, y, **{"linewidth": 1.4, "solid_capstyle": "butt"} | look)
    return ends


def finish(axes: Any, x: str, y: str) -> None:
    """Label the axes and draw the grid behind everything."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y")


def short_name(name: str) -> str:
    """Returns a name shortened for a figure, without the characters that matplotlib reads as mathematics."""
    # Generated names differ at their ends ("r=4,basis=sinc"), so what is left out is in the middle.
    if len(name) > LONGEST_LABEL:
        name = f"{name[:9]}…{name[10 - LONGEST_LABEL :]}"
    return name.replace("$", r"\$")


def smoothed(values: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Moving average; each point is at the middle of its window, in steps counted from 1."""
    mean = np.convolve(values, np.full(window, 1 / window), mode="valid")
    return np.arange(len(mean)) + (window + 1) / 2, mean


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most :data:`POINTS_PER_CURVE` points; the ends stay."""
    if len(x) <= POINTS_PER_CURVE:
        return x, y
    keep = np.unique(np.linspace(0, len(x) - 1, POINTS_PER_CURVE).round().astype(int))
    return x[keep], y[keep]

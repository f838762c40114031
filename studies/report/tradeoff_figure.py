"""The metric against the number of trained parameters, with the Pareto front."""

from __future__ import annotations

from typing import Any

from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lrlora.studies.report.figure_parts import PlotText, draw_interval, drawing, finish, short_name
from lrlora.studies.report.formatting import Scale
from lrlora.studies.report.palette import INK, Look
from lrlora.studies.report.svg import inline_svg
from lrlora.studies.stats.summary import StudySummary

LETTER, LINE = 5.5, 11.0
"""About the size of a letter of a point's name, in points."""

WIDE = 8.0
"""From this ratio of largest to smallest on, sizes are drawn on a logarithmic scale."""


def pareto_front(points: dict[str, tuple[float, float]], maximize: bool) -> list[str]:
    """Returns the names of the points that none other beats in one coordinate without losing in the other, by size.

    Args:
        points: Size and score by name. Less size is better.
        maximize: Whether a greater score is better.
    """
    sign = 1 if maximize else -1
    front: list[str] = []
    best: float | None = None
    for name, (_, score) in sorted(points.items(), key=lambda item: (item[1][0], -sign * item[1][1])):
        if best is None or sign * score > best:
            front.append(name)
            best = sign * score
    return front


def tradeoff_figure(summary: StudySummary, style: dict[str, Look]) -> PlotText | None:
    """Draws the metric against trained parameters of the adapter; None where all variants have as many."""
    scale = Scale.of(summary.metric)
    shown = {
        variant.name: (float(variant.parameters["adapter"][1]), variant.metric)
        for variant in summary.variants
        if variant.metric is not None and variant.parameters.get("adapter", (0, 0))[1] > 0
    }
    points = {name: (size, found.mean * scale.factor) for name, (size, found) in shown.items()}
    sizes = {size for size, _ in points.values()}
    if len(sizes) < 2:
        return None
    front = pareto_front(points, summary.maximize)
    with drawing("tradeoff", 250) as (figure, axes):
        if max(sizes) > WIDE * min(sizes):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        steps = zip(*(points[name] for name in front), strict=True)
        axes.plot(*steps, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), drawstyle="steps-post")
        for name, (size, found) in shown.items():
            colour = style[name].colour
            draw_interval(axes, found, size, scale.factor, upright=True, color=colour, linewidth=0.9, alpha=0.6)
            fill = {"color": colour, "markersize": 7, "markerfacecolor": colour if name in front else "none"}
            axes.plot(*points[name], style[name].marker, **fill)
        axes.margins(x=0.12, y=0.12)
        _name_points(figure, axes, {name: points[name] for name in front})
        if axes.get_xscale() == "linear":
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(_thousands)
        finish(axes, "trained parameters of the adapter", scale.heading(summary.metric))
        svg = inline_svg(figure, f"{summary.metric} against trained parameters")
    interval = ", with its 95 % t interval" if any(found.low is not None for _, found in shown.values()) else ""
    caption = (
        f"Mean {summary.metric} on the {summary.split} against trained parameters, the task head not counted"
        f"{interval}. Filled and joined: the Pareto front of the means, which ignores their uncertainty: neighbours "
        "whose intervals overlap may exchange places."
    )
    return PlotText("tradeoff", svg, caption, tuple(points), points=True)


def _name_points(figure: Any, axes: Any, points: dict[str, tuple[float, float]]) -> None:
    """Write names beside points, but for those whose name would lie on another; the legend has them all."""
    figure.draw_without_rendering()
    taken: list[tuple[float, float, float]] = []
    for name, at in points.items():
        x, y = axes.transData.transform(at)
        width = LETTER * len(short_name(name))
        if any(abs(y - other_y) < LINE and x < end and start < x + width for start, end, other_y in taken):
            continue
        taken.append((x, x + width, y))
        axes.annotate(short_name(name), at, xytext=(6, 5), textcoords="offset points", fontsize=9, color=INK)


def _thousands(value: float, _: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g} {letter}"
    return f"{value:g}"

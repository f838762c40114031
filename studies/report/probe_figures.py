"""Figures of the probes: fits against the SVD bound, memorised examples, learned against planted ranks."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from matplotlib.ticker import NullLocator

from lrlora.studies.report.figure_parts import DOTTED, WIDTH, PlotText, drawing_panels, is_lowest, short_name
from lrlora.studies.report.palette import INK, Look, looks
from lrlora.studies.report.svg import FONT_SIZE, inline_svg
from lrlora.studies.stats.source import Record, finite, label
from lrlora.studies.stats.summary import StudySummary

WIDE = 1.55 * WIDTH
PANEL = 150.0
"""Height of a row of panels, in points."""

TOP = 1.5
"""Ratios to the SVD bound above this are not drawn: there, a method is not a way to save parameters."""

Curve = list[tuple[float, float]]
"""Parameters and the mean of a metric, by parameters."""


def probe_figures(summary: StudySummary) -> list[PlotText]:
    """Every figure of a probe that the records have the metrics for."""
    figures = [
        _curves(
            summary,
            "svd_ratio",
            "error / SVD bound",
            "Relative error of the fit over the SVD bound: the least error of a matrix whose factors have as many "
            f"parameters. Below the line, the method fits better than any such matrix; above {TOP} nothing is drawn.",
        ),
        _curves(
            summary,
            "memorised",
            "memorised examples",
            "Examples with random labels that get the right label after training, against trained parameters. The "
            "solid line is the number of examples, the dotted one what guessing gives.",
        ),
        planted_figure(summary),
    ]
    return [figure for figure in figures if figure is not None]


def series_of(variant: str) -> str:
    """The name of a variant without its rank, which the axis of parameters stands for.

    >>> series_of("method=lora,r=4"), series_of("lora, own start"), series_of("r=4")
    ('lora', 'lora, own start', 'rank')
    """
    name = re.sub(r"(^|,)\s*r=\d+(?=,|$)", "", variant).strip(", ")
    return name.removeprefix("method=") or "rank"


def _finished(summary: StudySummary, metric: str) -> list[Record]:
    return [
        record
        for record in summary.records
        if record.get("status") == "finished" and finite((record.get("metrics") or {}).get(metric)) is not None
    ]


def parameters_of(record: Record) -> int:
    """The trained parameters of the adapter; of the model, if it has none."""
    counts = record.get("parameters") or {}
    return int(counts.get("adapter") or counts.get("trainable") or 0)


def curves_of(records: Sequence[Record], metric: str) -> dict[str, Curve]:
    """The mean over seeds of a metric by trained parameters, for each series of variants."""
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        values[series_of(str(record["variant"]))][parameters_of(record)].append(float(record["metrics"][metric]))
    return {name: [(size, fmean(found[size])) for size in sorted(found)] for name, found in values.items()}


def _curves(summary: StudySummary, metric: str, y: str, caption: str) -> PlotText | None:
    """The metric against parameters, a panel for each task."""
    panels: dict[str, list[Record]] = defaultdict(list)
    for record in _finished(summary, metric):
        panels[label(record, "task")].append(record)
    if not panels:
        return None
    lines = {task: curves_of(records, metric) for task, records in panels.items()}
    names = list(dict.fromkeys(name for found in lines.values() for name in found))
    style = looks(names, None)
    name = metric.replace("_", "-")
    with drawing_panels(name, len(panels), 60, PANEL, WIDE, metric == "svd_ratio") as (figure, grid):
        for place, (axes, (task, records)) in enumerate(zip(grid, panels.items(), strict=True)):
            axes.set_title(_title(task))
            _draw(axes, lines[task], style)
            _reference_lines(axes, metric, records)
            axes.tick_params(labelbottom=is_lowest(place, len(panels)))
        figure.supxlabel("trained parameters", fontsize=FONT_SIZE)
        figure.supylabel(y, fontsize=FONT_SIZE)
        _legend(figure, grid[0], names)
        svg = inline_svg(figure, f"{y} against trained parameters")
    seeds = max(len({record["seed"] for record in records}) for records in panels.values())
    return PlotText(name, svg, caption + (f" Means over {seeds} seeds." if seeds > 1 else ""))


def _draw(axes: Any, lines: dict[str, Curve], style: dict[str, Look]) -> None:
    axes.set_xscale("log", base=4)
    axes.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    for name, curve in lines.items():
        look = style[name]
        axes.plot(
            [size for size, _ in curve],
            [value for _, value in curve],
            **look.line,
            marker=look.marker,
            markersize=4.5,
            label=short_name(name),
        )
    axes.margins(x=0.1)
    axes.grid(axis="y")


def _reference_lines(axes: Any, metric: str, records: Sequence[Record]) -> None:
    axes.set_ylim(bottom=0)
    if metric == "svd_ratio":
        axes.set_ylim(0, TOP)
        axes.axhline(1, color=INK, linewidth=0.8)
        return
    record = max(records, key=lambda record: float(record["metrics"]["memorised"]))
    examples = record["metrics"]["memorised"] / max(record["metrics"]["accuracy"], 1e-12)
    axes.axhline(examples, color=INK, linewidth=0.8)
    if (chance := finite(record.get("chance"))) is not None:
        axes.axhline(examples * chance, color=INK, linewidth=0.8, linestyle=DOTTED)


def _legend(figure: Any, axes: Any, names: Sequence[str]) -> None:
    handles, found = axes.get_legend_handles_labels()
    figure.legend(handles, found, loc="outside lower center", ncols=min(4, len(names)), handlelength=2.4)


def _title(task: str) -> str:
    name = task.removeprefix("matrix-").replace("random-labels", "random labels")
    return re.sub(r"(\w+)=", r"\1 ", name).replace("(", ", ").rstrip(")")


# -- planted ranks ------------------------------------------------------------------------------------------


def planted_points(records: Sequence[Record]) -> list[tuple[float, float]]:
    """Planted and learned stable rank of every layer of the given records."""
    return [
        (planted, learned)
        for record in records
        for layer in record.get("layers") or ()
        if (planted := finite(layer.get("target_stable_rank"))) is not None
        and (learned := finite(layer.get("stable_rank"))) is not None
    ]


def planted_figure(summary: StudySummary) -> PlotText | None:
    """Learned against planted stable rank, a panel for each variant, with the median over layers of one rank."""
    panels = {
        variant.name: planted_points(
            [r for r in _finished(summary, "rank_correlation") if r["variant"] == variant.name]
        )
        for variant in summary.variants
    }
    panels = {name: points for name, points in panels.items() if points}
    if not panels:
        return None
    style = looks([variant.name for variant in summary.variants], summary.reference)
    largest = max(max(point) for points in panels.values() for point in points)
    with drawing_panels("planted", len(panels), 40, PANEL, WIDE) as (figure, grid):
        for place, (axes, (name, points)) in enumerate(zip(grid, panels.items(), strict=True)):
            _planted_panel(axes, points, style[name], largest)
            axes.set_title(short_name(name.removeprefix("method=")))
            axes.tick_params(labelbottom=is_lowest(place, len(panels)))
        figure.supxlabel("planted stable rank", fontsize=FONT_SIZE)
        figure.supylabel("learned stable rank", fontsize=FONT_SIZE)
        svg = inline_svg(figure, "learned against planted stable rank")
    caption = (
        "Stable rank of the learned ΔW of each layer against that of the update planted there; a point per layer and "
        "run, the line through medians, the dotted line where both are equal."
    )
    return PlotText("planted", svg, caption)


def _planted_panel(axes: Any, points: list[tuple[float, float]], look: Look, largest: float) -> None:
    ticks = [2**k for k in range(12) if 2**k <= 1.01 * largest]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.plot([1, largest], [1, largest], color=INK, linewidth=0.8, linestyle=DOTTED)
    axes.plot(*zip(*points, strict=True), look.marker, color=look.colour, markersize=3.5, alpha=0.5, markeredgewidth=0)
    by_rank: dict[float, list[float]] = defaultdict(list)
    for planted, learned in points:
        by_rank[round(planted, 3)].append(learned)
    medians = [(rank, median(by_rank[rank])) for rank in sorted(by_rank)]
    axes.plot(*zip(*medians, strict=True), color=look.colour)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.set_minor_locator(NullLocator())
    axes.grid(axis="both")

"""The report's figures. Each takes the summary and gives an SVG fragment, or None where it would be empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrlora.studies.report.comparisons import unit_means
from lrlora.studies.report.formatting import Scale
from lrlora.studies.report.layers import by_depth
from lrlora.studies.report.palette import FAINT, INK, Look, looks
from lrlora.studies.report.source import Record, finite
from lrlora.studies.report.summary import STRAIGHT_LINE, StudySummary, VariantSummary
from lrlora.studies.report.svg import drawing_style, inline_svg, new_figure

WIDTH = 430.0
ROW = 23.0
LONGEST_LABEL = 24
POINTS_PER_CURVE = 300
GROUPS = {"attention": "Attention", "mlp": "MLP", "other": "Other modules"}


@dataclass(frozen=True)
class PlotText:
    """A figure with its words.

    Attributes:
        name: Anchor and prefix of its ids.
        svg: The drawing.
        caption: What it shows and how it was computed.
        legend: The variants drawn as lines; empty where the axis names them.
    """

    name: str
    svg: str
    caption: str
    legend: tuple[str, ...] = ()


def all_figures(summary: StudySummary) -> list[PlotText]:
    """Every figure that has something to show, in reading order."""
    style = looks([variant.name for variant in summary.variants], summary.reference)
    figures = [
        metric_figure(summary, style),
        difference_figure(summary, style),
        loss_figure(summary, style),
        depth_figure(
            summary,
            style,
            name="stable-rank",
            field="stable_rank",
            label="stable rank of ΔW",
            caption="Stable rank of ΔW by depth, averaged over seeds and over the modules of each half of a block.",
        ),
        depth_figure(
            summary,
            style,
            name="nonlinear-fraction",
            field="nonlinear_fraction",
            label="nonlinear fraction",
            caption="Nonlinear fraction by depth. Below the dotted line, at 1 %, φ is a straight line.",
        ),
    ]
    return [figure for figure in figures if figure is not None]


def metric_figure(summary: StudySummary, style: dict[str, Look]) -> PlotText | None:
    """A dot per repetition, with the mean and its interval, for every variant."""
    shown = [variant for variant in summary.variants if variant.metric is not None]
    if not shown:
        return None
    scale = Scale.of(summary.metric)
    with drawing_style("metric"):
        figure, axes = _rows_figure(shown)
        for row, variant in enumerate(shown):
            found, look = variant.metric, style[variant.name]
            assert found is not None
            values = unit_means(summary.records_of(variant.name), summary.metric, summary.unit).values()
            if found.low is not None and found.high is not None:
                ends = [found.low * scale.factor, found.high * scale.factor]
                axes.plot(ends, [row - 0.12] * 2, color=look.colour, linewidth=1.4, solid_capstyle="butt")
            mean = found.mean * scale.factor
            if found.n > 1:
                axes.plot([mean, mean], [row - 0.32, row + 0.08], color=look.colour, linewidth=2.2)
            dots = [value * scale.factor for value in values]
            axes.plot(
                dots, [row + 0.24] * len(dots), "o", color=look.colour, markersize=4.5, alpha=0.6, markeredgewidth=0
            )
        axes.set_xlabel(summary.metric + (f", {scale.unit.strip()}" if scale.unit else ""))
        svg = inline_svg(figure, "metric", f"{summary.metric} by variant")
    repeated = any(variant.metric is not None and variant.metric.low is not None for variant in shown)
    caption = f"{summary.metric.capitalize()} on the test split: a dot per {summary.unit}"
    caption += ", the mean, and its 95 % t interval." if repeated else "; without repetition there is no interval."
    return PlotText("metric", svg, caption)


def difference_figure(summary: StudySummary, style: dict[str, Look]) -> PlotText | None:
    """The paired differences to the reference with their intervals."""
    shown = [variant for variant in summary.variants if variant.comparison is not None]
    if not shown:
        return None
    scale = Scale.of(summary.metric)
    published = False
    with drawing_style("difference"):
        figure, axes = _rows_figure(shown)
        axes.axvline(0, color=INK, linewidth=0.8)
        for row, variant in enumerate(shown):
            assert variant.comparison is not None
            found, look = variant.comparison.difference, style[variant.name]
            if found.low is not None and found.high is not None:
                ends = [found.low * scale.factor, found.high * scale.factor]
                axes.plot(ends, [row, row], color=look.colour, linewidth=1.4, solid_capstyle="butt")
            axes.plot([found.mean * scale.factor], [row], "s", color=look.colour, markersize=6)
            # Only percentages share a scale with the paper's figures, which stand in the paper's own unit.
            if scale.factor == 100.0 and variant.published and variant.published.difference is not None:
                published = True
                at = [variant.published.difference]
                axes.plot(
                    at, [row], "D", markerfacecolor="none", markeredgecolor=INK, markersize=5, markeredgewidth=0.9
                )
        axes.set_xlabel(
            f"difference to {_short(summary.partner or 'partner')}"
            + (f",{scale.difference_unit}" if scale.unit else "")
        )
        svg = inline_svg(
            figure, "difference", f"paired difference in {summary.metric} to {summary.partner or 'partner'}"
        )
    tested = any(variant.comparison and variant.comparison.difference.low is not None for variant in shown)
    caption = f"Paired difference in {summary.metric} to {summary.partner or 'the variant that the table names'}"
    caption += ", with its 95 % t interval." if tested else "; without repetition there is no interval."
    caption += f" {'Right' if summary.maximize else 'Left'} of the line is better."
    if published:
        caption += " Diamonds: the paper's difference, on its own model and task."
    return PlotText("difference", svg, caption)


def loss_figure(summary: StudySummary, style: dict[str, Look]) -> PlotText | None:
    """Training loss over steps: the smoothed mean over finished seeds, and diverged cells one by one."""
    drawn: list[str] = []
    diverged = False
    window = 1
    extent: list[float] = []
    ends: list[tuple[float, float, str]] = []
    with drawing_style("loss"):
        figure = new_figure(WIDTH, 235)
        axes = figure.subplots()
        for variant in summary.variants:
            look = style[variant.name]
            records = summary.records_of(variant.name)
            curves = [curve for r in records if r.get("status") == "finished" and len(curve := _curve(r)) > 0]
            if curves:
                steps = min(len(curve) for curve in curves)
                window = max(1, steps // 20)
                x, mean = _thinned(*_smoothed(np.nanmean([curve[:steps] for curve in curves], axis=0), window))
                axes.plot(x, mean, color=look.colour, linestyle=look.line_style)
                extent += [float(mean.min()), float(mean.max())]
                drawn.append(variant.name)
            for record in records:
                curve = _curve(record)
                if record.get("status") == "diverged" and len(curve) > 0:
                    diverged = True
                    smooth = max(1, len(curve) // 20)
                    x, line = _thinned(*_smoothed(curve, smooth))
                    axes.plot(x, line, color=look.colour, linewidth=0.8)
                    ends.append((float(x[-1]), float(line[-1]), look.colour))
                    drawn += [] if variant.name in drawn else [variant.name]
        if not drawn:
            return None
        if extent and max(extent) > min(extent):
            # One exploding run must not flatten all others: the axis is that of the finished ones.
            margin = 0.06 * (max(extent) - min(extent))
            axes.set_ylim(min(extent) - margin, max(extent) + margin)
        bottom, ceiling = axes.get_ylim()
        for step, value, colour in ends:
            axes.plot([step], [min(value, ceiling)], "x", color=colour, markersize=6, clip_on=False)
        axes.set_ylim(bottom, ceiling)
        _finish(axes, "step", "training loss")
        svg = inline_svg(figure, "loss", "training loss over steps")
    caption = "Training loss: mean over finished seeds" + (
        f", moving average over {window} steps." if window > 1 else "."
    )
    if diverged:
        caption += " Thin lines that end in a cross are single cells that diverged."
    return PlotText("loss", svg, caption, tuple(drawn))


def depth_figure(
    summary: StudySummary, style: dict[str, Look], *, name: str, field: str, label: str, caption: str
) -> PlotText | None:
    """A layer diagnostic against depth, a panel for each half of a transformer block."""
    fraction = field == "nonlinear_fraction"
    shown = [variant for variant in summary.variants if variant.has_transfer or not fraction]
    lines = {
        group: {v.name: line for v in shown if (line := by_depth(summary.records_of(v.name), field, group))}
        for group in GROUPS
    }
    panels = [group for group in GROUPS if lines[group]]
    if not panels:
        return None
    with drawing_style(name):
        figure = new_figure(WIDTH, 215)
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, group in zip(row, panels, strict=True):
            for variant, line in lines[group].items():
                look = style[variant]
                values = [100 * value if fraction else value for _, value in line]
                depths = [depth for depth, _ in line]
                axes.plot(
                    depths, values, color=look.colour, linestyle=look.line_style, marker=look.marker, markersize=3.5
                )
            axes.set_title(GROUPS[group])
            axes.xaxis.get_major_locator().set_params(integer=True)
            if fraction:
                axes.axhline(100 * STRAIGHT_LINE, color=INK, linewidth=1.2, linestyle=(0, (1, 2)), zorder=3)
            _finish(axes, "layer", "")
        row[0].set_ylabel(label + (", %" if fraction else ""))
        # No matrix but 0 has a stable rank below 1, and no fraction is negative.
        lowest = min(value for group in panels for line in lines[group].values() for _, value in line)
        row[0].set_ylim(bottom=0 if fraction or lowest < 1 else 1)
        svg = inline_svg(figure, name, f"{label} by depth")
    drawn = {variant for group in panels for variant in lines[group]}
    return PlotText(name, svg, caption, tuple(v.name for v in shown if v.name in drawn))


def _rows_figure(variants: Sequence[VariantSummary]) -> tuple[Any, Any]:
    """A figure with one row per variant, first on top."""
    figure = new_figure(WIDTH, 52 + ROW * max(2, len(variants)))
    axes = figure.subplots()
    axes.set_yticks(range(len(variants)), [_short(variant.name) for variant in variants])
    axes.set_ylim(len(variants) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT)
    axes.set_axisbelow(True)
    return figure, axes


def _finish(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", color=FAINT)
    axes.set_axisbelow(True)


def _short(name: str) -> str:
    # A dollar sign would start mathematics in matplotlib.
    name = name.replace("$", r"\$")
    if len(name) <= LONGEST_LABEL:
        return name
    # Generated names differ at their ends ("r=4,basis=sinc"), so what is left out is in the middle.
    return f"{name[:9]}…{name[10 - LONGEST_LABEL :]}"


def _curve(record: Record) -> np.ndarray:
    """The training loss up to the first value that is not finite."""
    values = [finite(value) for value in record.get("train_loss") or ()]
    usable = values.index(None) if None in values else len(values)
    return np.asarray(values[:usable], dtype=float)


def _smoothed(values: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Moving average; each point stands at the middle of its window, in steps counted from 1."""
    mean = np.convolve(values, np.full(window, 1 / window), mode="valid")
    return np.arange(len(mean)) + (window + 1) / 2, mean


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most so many points as a figure can show; the ends stay."""
    if len(x) <= POINTS_PER_CURVE:
        return x, y
    keep = np.unique(np.linspace(0, len(x) - 1, POINTS_PER_CURVE).round().astype(int))
    return x[keep], y[keep]

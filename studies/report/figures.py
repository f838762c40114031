"""The report's figures. Each takes the summary and returns an SVG fragment, or None if it would be empty."""

from __future__ import annotations

from lrlora.studies.report.curve_figures import grad_norm_figure, loss_figure, validation_figure
from lrlora.studies.report.figure_parts import (
    DOTTED,
    PlotText,
    draw_interval,
    drawing,
    drawing_rows,
    finish,
    short_name,
)
from lrlora.studies.report.formatting import Scale
from lrlora.studies.report.layer_figures import layer_figures
from lrlora.studies.report.palette import INK, Look, looks
from lrlora.studies.report.probe_figures import probe_figures
from lrlora.studies.report.svg import inline_svg
from lrlora.studies.report.tradeoff_figure import tradeoff_figure
from lrlora.studies.report.trend_figures import trend_figures
from lrlora.studies.stats.layers import LINEAR, by_depth
from lrlora.studies.stats.summary import StudySummary

GROUPS = {"attention": "Attention", "mlp": "MLP", "other": "Other modules"}


def all_figures(summary: StudySummary) -> list[PlotText]:
    """Returns every figure that has something to show, in reading order."""
    style = looks([variant.name for variant in summary.variants], summary.reference)
    figures = [
        metric_figure(summary, style),
        difference_figure(summary, style),
        *probe_figures(summary),
        *trend_figures(summary),
        tradeoff_figure(summary, style),
        loss_figure(summary, style),
        grad_norm_figure(summary, style),
        validation_figure(summary, style),
        depth_figure(summary, style, "stable_rank"),
        depth_figure(summary, style, "nonlinear_fraction"),
        *layer_figures(summary, style),
    ]
    return [figure for figure in figures if figure is not None]


def metric_figure(summary: StudySummary, style: dict[str, Look]) -> PlotText | None:
    """Draws a dot per repetition, with the mean and its interval, for every variant."""
    shown = {variant.name: variant.metric for variant in summary.variants if variant.metric is not None}
    if not shown:
        return None
    scale = Scale.of(summary.metric)
    with drawing_rows("metric", list(shown)) as (figure, axes):
        for row, (name, found) in enumerate(shown.items()):
            colour, mean = style[name].colour, found.mean * scale.factor
            draw_interval(axes, found, row - 0.12, scale.factor, color=colour)
            if found.n > 1:
                axes.plot([mean, mean], [row - 0.32, row + 0.08], color=colour, linewidth=2.2)
            dots = [value * scale.factor for value in summary.values_of(name)]
            below = [row + 0.24] * len(dots)
            axes.plot(dots, below, "o", color=colour, markersize=4.5, alpha=0.6, markeredgewidth=0)
        axes.set_xlabel(scale.heading(summary.metric))
        svg = inline_svg(figure, f"{summary.metric} by variant")
    repeated = any(found.low is not None for found in shown.values())
    caption = f"{summary.metric.capitalize()} on the {summary.split}: a dot per {summary.unit}"
    caption += ", the mean, and its 95 % t interval." if repeated else "; without repetition there is no interval."
    return PlotText("metric", svg, caption)


def difference_figure(summary: StudySummary, style: dict[str, Look]) -> PlotText | None:
    """Draws the paired differences to the reference with their intervals."""
    shown = [(variant, variant.comparison.difference) for variant in summary.variants if variant.comparison]
    if not shown:
        return None
    scale, published, partner = Scale.of(summary.metric), False, summary.partner
    with drawing_rows("difference", [variant.name for variant, _ in shown]) as (figure, axes):
        axes.axvline(0, color=INK, linewidth=0.8)
        for row, (variant, found) in enumerate(shown):
            colour = style[variant.name].colour
            draw_interval(axes, found, row, scale.factor, color=colour)
            axes.plot([found.mean * scale.factor], [row], "s", color=colour, markersize=6)
            # Only percentages share a scale with the paper's figures, which stand in the paper's own unit.
            if scale.factor == 100.0 and variant.published and variant.published.difference is not None:
                published = True
                hollow = {"markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 0.9, "markersize": 5}
                axes.plot([variant.published.difference], [row], "D", **hollow)
        unit = f",{scale.difference_unit}" if scale.unit else ""
        axes.set_xlabel(f"difference to {short_name(partner or 'partner')}{unit}")
        svg = inline_svg(figure, f"paired difference in {summary.metric} to {partner or 'partner'}")
    tested = any(found.low is not None for _, found in shown)
    caption = f"Paired difference in {summary.metric} to {partner or 'the partner in the table'}"
    caption += ", with its 95 % t interval." if tested else "; without repetition there is no interval."
    caption += f" {'Right' if summary.maximize else 'Left'} of the line is better."
    if published:
        caption += " Diamonds: the paper's difference, on its own model and task."
    return PlotText("difference", svg, caption)


def depth_figure(summary: StudySummary, style: dict[str, Look], field: str) -> PlotText | None:
    """Draws the stable rank or the nonlinear fraction by depth, a panel for each half of a transformer block."""
    fraction = field == "nonlinear_fraction"
    label, factor = ("nonlinear fraction, %", 100) if fraction else ("stable rank of ΔW", 1)
    shown = [variant for variant in summary.variants if variant.has_transfer or not fraction]
    lines = {
        group: {v.name: line for v in shown if (line := by_depth(summary.records_of(v.name), field, group))}
        for group in GROUPS
    }
    panels = [group for group in GROUPS if lines[group]]
    if not panels:
        return None
    name = field.replace("_", "-")
    with drawing(name, 215, columns=len(panels), sharey=True, squeeze=False) as (figure, ((first, *others),)):
        for axes, group in zip((first, *others), panels, strict=True):
            for variant, line in lines[group].items():
                depths, values = [depth for depth, _ in line], [factor * value for _, value in line]
                axes.plot(depths, values, **style[variant].line, marker=style[variant].marker, markersize=3.5)
            axes.set_title(GROUPS[group])
            axes.xaxis.get_major_locator().set_params(integer=True)
            if fraction:
                axes.axhline(100 * LINEAR, color=INK, linewidth=1.2, linestyle=DOTTED, zorder=3)
            finish(axes, "layer", "")
        first.set_ylabel(label)
        # No matrix but 0 has a stable rank below 1, and no fraction is negative.
        lowest = min(value for group in panels for line in lines[group].values() for _, value in line)
        first.set_ylim(bottom=0 if fraction or lowest < 1 else 1)
        svg = inline_svg(figure, f"{label.removesuffix(', %')} by depth")
    caption = (
        "Nonlinear fraction by depth. Below the dotted line, at 1 %, φ counts as linear."
        if fraction
        else "Stable rank of ΔW by depth, averaged over seeds and over the modules of each half of a block."
    )
    drawn = {variant for group in panels for variant in lines[group]}
    return PlotText(name, svg, caption, tuple(v.name for v in shown if v.name in drawn))

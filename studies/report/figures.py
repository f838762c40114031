"""The report's figures. Each takes the summary and returns an SVG fragment, or None if it would be empty."""

from __future__ import annotations

from lrlora.studies.report.curve_figures import grad_norm_figure, loss_figure, validation_figure
from lrlora.studies.report.figure_parts import WIDTH, PlotText, finish, rows_figure, short_name
from lrlora.studies.report.formatting import Scale
from lrlora.studies.report.layer_figures import layer_figures
from lrlora.studies.report.palette import INK, Look, looks
from lrlora.studies.report.probe_figures import probe_figures
from lrlora.studies.report.svg import drawing_style, inline_svg, new_figure
from lrlora.studies.report.tradeoff_figure import tradeoff_figure
from lrlora.studies.report.trend_figures import trend_figures
from lrlora.studies.stats.layers import LINEAR, by_depth
from lrlora.studies.stats.summary import StudySummary

GROUPS = {"attention": "Attention", "mlp": "MLP", "other": "Other modules"}


def all_figures(summary: StudySummary) -> list[PlotText]:
    """Every figure that has something to show, in reading order."""
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
            caption="Nonlinear fraction by depth. Below the dotted line, at 1 %, φ counts as linear.",
        ),
        *layer_figures(summary, style),
    ]
    return [figure for figure in figures if figure is not None]


def metric_figure(summary: StudySummary, style: dict[str, Look]) -> PlotText | None:
    """A dot per repetition, with the mean and its interval, for every variant."""
    shown = [variant for variant in summary.variants if variant.metric is not None]
    if not shown:
        return None
    scale = Scale.of(summary.metric)
    with drawing_style("metric"):
        figure, axes = rows_figure([variant.name for variant in shown])
        for row, variant in enumerate(shown):
            found, look = variant.metric, style[variant.name]
            assert found is not None
            if found.low is not None and found.high is not None:
                ends = [found.low * scale.factor, found.high * scale.factor]
                axes.plot(ends, [row - 0.12] * 2, color=look.colour, linewidth=1.4, solid_capstyle="butt")
            mean = found.mean * scale.factor
            if found.n > 1:
                axes.plot([mean, mean], [row - 0.32, row + 0.08], color=look.colour, linewidth=2.2)
            dots = [value * scale.factor for value in summary.values_of(variant.name)]
            axes.plot(
                dots, [row + 0.24] * len(dots), "o", color=look.colour, markersize=4.5, alpha=0.6, markeredgewidth=0
            )
        axes.set_xlabel(scale.heading(summary.metric))
        svg = inline_svg(figure, f"{summary.metric} by variant")
    repeated = any(variant.metric is not None and variant.metric.low is not None for variant in shown)
    caption = f"{summary.metric.capitalize()} on the {summary.split}: a dot per {summary.unit}"
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
        figure, axes = rows_figure([variant.name for variant in shown])
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
            f"difference to {short_name(summary.partner or 'partner')}"
            + (f",{scale.difference_unit}" if scale.unit else "")
        )
        svg = inline_svg(figure, f"paired difference in {summary.metric} to {summary.partner or 'partner'}")
    tested = any(variant.comparison and variant.comparison.difference.low is not None for variant in shown)
    caption = f"Paired difference in {summary.metric} to {summary.partner or 'the partner in the table'}"
    caption += ", with its 95 % t interval." if tested else "; without repetition there is no interval."
    caption += f" {'Right' if summary.maximize else 'Left'} of the line is better."
    if published:
        caption += " Diamonds: the paper's difference, on its own model and task."
    return PlotText("difference", svg, caption)


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
                axes.axhline(100 * LINEAR, color=INK, linewidth=1.2, linestyle=(0, (1, 2)), zorder=3)
            finish(axes, "layer", "")
        row[0].set_ylabel(label + (", %" if fraction else ""))
        # No matrix but 0 has a stable rank below 1, and no fraction is negative.
        lowest = min(value for group in panels for line in lines[group].values() for _, value in line)
        row[0].set_ylim(bottom=0 if fraction or lowest < 1 else 1)
        svg = inline_svg(figure, f"{label} by depth")
    drawn = {variant for group in panels for variant in lines[group]}
    return PlotText(name, svg, caption, tuple(v.name for v in shown if v.name in drawn))

"""Figures of training: loss, gradient norm, and the validation metric over steps."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lrlora.studies.report.figure_parts import DOTTED, PlotText, drawing, finish, smoothed, thinned
from lrlora.studies.report.formatting import Scale
from lrlora.studies.report.palette import INK, Look
from lrlora.studies.report.svg import inline_svg
from lrlora.studies.stats.source import Record, finite
from lrlora.studies.stats.summary import StudySummary


def loss_figure(summary: StudySummary, style: dict[str, Look]) -> PlotText | None:
    """Draws the training loss over steps: the smoothed mean over finished seeds, and diverged cells one by one."""
    return _step_figure(summary, style, "loss", "train_loss", "training loss")


def grad_norm_figure(summary: StudySummary, style: dict[str, Look]) -> PlotText | None:
    """Draws the gradient norm before clipping over steps, on a logarithmic scale, and the norm it was clipped to."""
    return _step_figure(summary, style, "grad-norm", "grad_norm", "gradient norm")


def validation_figure(summary: StudySummary, style: dict[str, Look]) -> PlotText | None:
    """Draws the metric on the validation split over steps; None where no variant was validated twice."""
    scale = Scale.of(summary.metric)
    drawn: list[str] = []
    with drawing("validation") as (figure, axes):
        for variant in summary.variants:
            curves = [found for r in _finished(summary, variant.name) if (found := _validations(r, summary.metric))]
            steps = [step for step in curves[0] if all(step in curve for curve in curves)] if curves else []
            if len(steps) < 2:
                continue
            look = style[variant.name]
            means = [scale.factor * float(np.mean([curve[step] for curve in curves])) for step in steps]
            axes.plot(steps, means, **look.line, marker=look.marker, markersize=3.5)
            drawn.append(variant.name)
        if not drawn:
            return None
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        finish(axes, "step", f"validation {scale.heading(summary.metric)}")
        svg = inline_svg(figure, f"{summary.metric} on the validation split over steps")
    caption = f"{summary.metric.capitalize()} on the validation split, mean over finished cells."
    return PlotText("validation", svg, caption, tuple(drawn))


def _step_figure(summary: StudySummary, style: dict[str, Look], name: str, field: str, what: str) -> PlotText | None:
    logarithmic = field == "grad_norm"
    drawn: dict[str, None] = {}
    window = 1
    extent: list[float] = []
    ends: list[tuple[float, float, str]] = []
    with drawing(name) as (figure, axes):
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        for variant in summary.variants:
            look = style[variant.name]
            curves = [curve for r in _finished(summary, variant.name) if len(curve := _curve(r, field)) > 0]
            if curves:
                steps = min(len(curve) for curve in curves)
                window = max(1, steps // 20)
                x, line = _smooth([curve[:steps] for curve in curves], logarithmic)
                axes.plot(x, line, **look.line)
                extent += [float(line.min()), float(line.max())]
                drawn[variant.name] = None
            for record in summary.records_of(variant.name):
                curve = _curve(record, field)
                if record.get("status") == "diverged" and len(curve) > 0:
                    x, line = _smooth([curve], logarithmic)
                    axes.plot(x, line, color=look.colour, linewidth=0.8)
                    ends.append((float(x[-1]), float(line[-1]), look.colour))
                    drawn[variant.name] = None
        if not drawn:
            return None
        if extent and max(extent) > min(extent) and not logarithmic:
            # One exploding run must not flatten all others: the axis is that of the finished ones.
            margin = 0.06 * (max(extent) - min(extent))
            axes.set_ylim(min(extent) - margin, max(extent) + margin)
        thresholds = _clip_norms(summary) if logarithmic else []
        for threshold in thresholds:
            axes.axhline(threshold, color=INK, linewidth=1.0, linestyle=DOTTED, zorder=3)
        bottom, ceiling = axes.get_ylim()
        for step, value, colour in ends:
            axes.plot([step], [min(value, ceiling)], "x", color=colour, markersize=6, clip_on=False)
        axes.set_ylim(bottom, ceiling)
        finish(axes, "step", what)
        svg = inline_svg(figure, f"{what} over steps")
    caption = f"{what.capitalize()}" + (" before clipping: geometric mean" if logarithmic else ": mean")
    caption += " over finished cells" + (f", moving average over {window} steps." if window > 1 else ".")
    if thresholds:
        caption += f" Dotted: the norm that gradients are clipped to, {', '.join(f'{one:g}' for one in thresholds)}."
    if ends:
        caption += " Thin lines that end in a cross are single cells that diverged."
    return PlotText(name, svg, caption, tuple(drawn))


def _finished(summary: StudySummary, variant: str) -> list[Record]:
    return [record for record in summary.records_of(variant) if record.get("status") == "finished"]


def _curve(record: Record, field: str) -> np.ndarray:
    """Returns a series up to the first value that is not finite, or has no logarithm where one is drawn."""
    values = [finite(value) for value in record.get(field) or ()]
    if field == "grad_norm":
        values = [None if value is None or value <= 0 else value for value in values]
    usable = values.index(None) if None in values else len(values)
    return np.asarray(values[:usable], dtype=float)


def _smooth(curves: list[np.ndarray], logarithmic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of curves of one length, averaged over a twentieth of it; geometric means if logarithmic."""
    mean = np.mean(np.log(curves) if logarithmic else curves, axis=0)
    x, line = smoothed(mean, max(1, len(mean) // 20))
    return thinned(x, np.exp(line) if logarithmic else line)


def _clip_norms(summary: StudySummary) -> list[float]:
    """Returns the norms that gradients were clipped to; none where clipping was off."""
    found = {finite((record.get("training") or {}).get("max_grad_norm")) for record in summary.records}
    return sorted(value for value in found if value)


def _validations(record: Record, metric: str) -> dict[int, float]:
    """Returns the metric by step."""
    return {
        int(entry["step"]): value
        for entry in record.get("validation") or ()
        if (value := finite(entry.get(metric))) is not None
    }

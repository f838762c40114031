"""The figures of a search: how it went, what mattered, and the figure that counts against each setting."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lrlora.studies.report.figure_parts import PlotText
from lrlora.studies.report.formatting import Scale
from lrlora.studies.report.palette import FAINT, INK, Look
from lrlora.studies.report.svg import drawing_style, inline_svg, new_figure
from lrlora.studies.search.importance import importances
from lrlora.studies.search.outcome import VariantOutcome, show

WIDTH, HEIGHT, ROW = 430.0, 190.0, 23.0


def figures_of(variant: VariantOutcome, metric: str, look: Look, key: str) -> list[PlotText]:
    """Every figure that has something to show, in reading order.

    Args:
        variant: What was found for it.
        metric: Name of the figure that counts.
        look: How the variant is drawn.
        key: Prefix of the figures' names, unique on the page.
    """
    figures = [
        history_figure(variant, metric, look, key),
        importance_figure(variant, look, key),
        *(slice_figure(variant, setting, metric, look, key) for setting in variant.space),
    ]
    return [figure for figure in figures if figure is not None]


def history_figure(variant: VariantOutcome, metric: str, look: Look, key: str) -> PlotText | None:
    """The figure of each trial, the best so far, and the untuned variant."""
    complete = variant.complete
    if not complete:
        return None
    scale, name = Scale.of(metric), f"{key}-history"
    values = [_value(trial.value, scale) for trial in complete]
    best = list(accumulate(values, max if variant.maximize else min))
    with drawing_style(name):
        figure, axes = _axes(metric, scale)
        numbers = [trial.number for trial in complete]
        axes.step([*numbers, variant.trials[-1].number], [*best, best[-1]], where="post", color=look.colour)
        axes.plot(numbers, values, "o", color=look.colour, markersize=4.5, alpha=0.6, markeredgewidth=0)
        others = [trial.number for trial in variant.trials if trial.value is None]
        if others:
            axes.plot(others, [0.02] * len(others), "x", color=INK, markersize=5, transform=axes.get_xaxis_transform())
        if variant.default is not None:
            axes.axhline(_value(variant.default.value, scale), color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
        axes.set_xlabel("trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        svg = inline_svg(figure, f"{metric} of {variant.name} by trial")
    caption = (
        f"{metric.capitalize()} on the validation split by trial, averaged over the runs; the line is the best so far"
    )
    caption += ", the dashed one the untuned variant." if variant.default is not None else "."
    if others:
        caption += " Crosses below: trials that are not complete."
    return PlotText(name, svg, caption)


def importance_figure(variant: VariantOutcome, look: Look, key: str) -> PlotText | None:
    """A bar per setting."""
    found = importances(variant)
    if not found:
        return None
    name = f"{key}-importance"
    with drawing_style(name):
        figure = new_figure(WIDTH, 46 + ROW * len(found))
        axes = figure.add_subplot()
        axes.barh(range(len(found)), list(found.values()), height=0.55, color=look.colour)
        axes.set_yticks(range(len(found)), [_short(setting) for setting in found])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of importance")
        axes.tick_params(axis="y", length=0)
        svg = inline_svg(figure, f"importance of the settings of {variant.name}")
    caption = (
        "Importance of each setting by PED-ANOVA: how much more concentrated the best quarter of the trials is in it."
    )
    return PlotText(name, svg, caption)


def slice_figure(variant: VariantOutcome, setting: str, metric: str, look: Look, key: str) -> PlotText | None:
    """The figure of each trial against its value of one setting."""
    shown = [trial for trial in variant.complete if setting in trial.settings]
    if not shown:
        return None
    dimension, scale = variant.space[setting], Scale.of(metric)
    name = f"{key}-{setting.replace('.', '-').replace('_', '-')}"
    values = [_value(trial.value, scale) for trial in shown]
    choices = dimension.choices(variant.defaults.get(setting)) if dimension.values is not None else []
    with drawing_style(name):
        figure, axes = _axes(metric, scale)
        places: list[Any] = [trial.settings[setting] for trial in shown]
        if choices:
            places = [choices.index(place) for place in places]
            axes.set_xticks(range(len(choices)), [show(choice) for choice in choices])
            axes.set_xlim(-0.5, len(choices) - 0.5)
        else:
            low, high = min(dimension.low or 0.0, *places), max(dimension.high or 0.0, *places)
            if dimension.log:
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 50 else (1,)))
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.xaxis.set_minor_formatter(NullFormatter())
            room = (high / low) ** 0.03 if dimension.log else 0.03 * (high - low)
            axes.set_xlim(*((low / room, high * room) if dimension.log else (low - room, high + room)))
        axes.plot(places, values, "o", color=look.colour, markersize=4.5, alpha=0.6, markeredgewidth=0)
        for trial, place, value in zip(shown, places, values, strict=True):
            if trial is variant.best:
                axes.plot([place], [value], "o", markersize=9, markerfacecolor="none", markeredgecolor=INK)
            if trial is variant.default:
                axes.plot([place], [value], "s", markersize=9, markerfacecolor="none", markeredgecolor=INK)
        axes.set_xlabel(_short(setting))
        svg = inline_svg(figure, f"{metric} of {variant.name} against {setting}")
    caption = f"{metric.capitalize()} against {_short(setting)}, a dot per complete trial. The ring is the best trial"
    caption += ", the square the untuned variant." if variant.default in shown else "."
    return PlotText(name, svg, caption)


def _axes(metric: str, scale: Scale) -> tuple[Any, Any]:
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_subplot()
    axes.set_ylabel(metric + (f", {scale.unit.strip()}" if scale.unit else ""))
    axes.grid(axis="y", color=FAINT)
    axes.set_axisbelow(True)
    return figure, axes


def _value(value: float | None, scale: Scale) -> float:
    assert value is not None
    return value * scale.factor


def _short(setting: str) -> str:
    return setting.removeprefix("training.")

"""The critical-difference diagram: average ranks over tasks, and which of them are not told apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lrlora.studies.report.designs import RankComparison
from lrlora.studies.report.figure_parts import WIDTH, PlotText, short_name
from lrlora.studies.report.formatting import decimal, equals_probability, listed
from lrlora.studies.report.palette import INK, Look
from lrlora.studies.report.statistics import ALPHA
from lrlora.studies.report.summary import StudySummary
from lrlora.studies.report.svg import drawing_style, inline_svg, new_figure

ROW = 17.0
TOP = 44.0
BAR_STEP = 7.0


def rank_figure(summary: StudySummary, style: dict[str, Look]) -> PlotText | None:
    """The diagram of Demšar 2006 (JMLR 7, 1-30, Figure 1); None below five tasks or three variants."""
    found = summary.ranks
    if found is None:
        return None
    names = list(found.ranks)
    # Half of the names stand to the left of the scale and half to the right, each level with its own elbow.
    left = names[: math.ceil(len(names) / 2)]
    below = TOP + 10 + BAR_STEP * len(found.cliques)
    height = below + ROW * len(left) + 8
    with drawing_style("ranks"):
        figure = new_figure(WIDTH, height)
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(height, 0)
        x = _scale(len(names))
        _draw_axis(axes, x, len(names), found)
        for bar, clique in enumerate(found.cliques):
            y = TOP + 9 + BAR_STEP * bar
            ends = [x(found.ranks[clique[0]]) - 3, x(found.ranks[clique[-1]]) + 3]
            axes.plot(ends, [y, y], color=INK, linewidth=3.2, solid_capstyle="butt")
        for index, name in enumerate(names):
            is_left = name in left
            row = index if is_left else len(names) - 1 - index
            y, at = below + ROW * row + ROW / 2, x(found.ranks[name])
            edge = 118.0 if is_left else WIDTH - 118.0
            axes.plot([at, at, edge], [TOP, y, y], color=style[name].colour, linewidth=1.1)
            text = f"{short_name(name)}  {decimal(found.ranks[name], 2)}"
            if not is_left:
                text = f"{decimal(found.ranks[name], 2)}  {short_name(name)}"
            axes.text(
                edge + (-4 if is_left else 4), y, text, ha="right" if is_left else "left", va="center", fontsize=9
            )
        svg = inline_svg(figure, "ranks", f"average ranks in {summary.metric} over {found.tasks} tasks")
    missing = [variant.name for variant in summary.variants if variant.name not in found.ranks]
    caption = (
        f"Average rank in {summary.metric} over {found.tasks} tasks, 1 is best; cells are averaged within a task. "
        f"Friedman’s test that all are alike: {equals_probability(found.p)}. Ranks closer than the critical difference "
        f"of {decimal(found.critical_difference, 2)} (Nemenyi, 5 %) are not told apart; a bar joins them."
    )
    if found.p >= ALPHA:
        caption += " Since Friedman’s test does not reject, no two variants are to be told apart by their ranks."
    if missing:
        caption += f" Left out, for want of a score on some task: {listed(missing)}."
    return PlotText("ranks", svg, caption)


def _scale(count: int) -> Callable[[float], float]:
    """From a rank to where it stands; the best is to the left."""
    start, end = 140.0, WIDTH - 140.0
    return lambda rank: start + (rank - 1) / (count - 1) * (end - start)


def _draw_axis(axes: Any, x: Callable[[float], float], count: int, found: RankComparison) -> None:
    axes.plot([x(1), x(count)], [TOP, TOP], color=INK, linewidth=0.8)
    for rank in range(1, count + 1):
        axes.plot([x(rank), x(rank)], [TOP - 5, TOP], color=INK, linewidth=0.8)
        axes.text(x(rank), TOP - 8, str(rank), ha="center", va="bottom", fontsize=9)
    # The critical difference as a length on the same scale. Where it is longer, nothing is told apart.
    end = x(1) + (x(2) - x(1)) * found.critical_difference
    axes.plot([x(1), min(end, WIDTH - 6)], [10, 10], color=INK, linewidth=1.4)
    for tick in (x(1), min(end, WIDTH - 6)):
        axes.plot([tick, tick], [7, 13], color=INK, linewidth=1.0)
    axes.text(
        x(1) - 6,
        10,
        f"critical difference {decimal(found.critical_difference, 2)}",
        ha="right",
        va="center",
        fontsize=9,
    )

"""Figures of claimed trends: a point with its interval at each number."""

from __future__ import annotations

from typing import Any

from lrlora.studies.report.claim_table import claim_scale
from lrlora.studies.report.figure_parts import PlotText, draw_interval, drawing, finish
from lrlora.studies.report.palette import CSS_COLOURS, INK
from lrlora.studies.report.svg import inline_svg
from lrlora.studies.stats.summary import StudySummary
from lrlora.studies.stats.verdicts import ClaimVerdict, TrendPoint, trend_points

OURS = next(colour for colour, css in CSS_COLOURS.items() if css == "var(--series-1)")
PAPERS = next(colour for colour, css in CSS_COLOURS.items() if css == "var(--series-2)")


def trend_figures(summary: StudySummary) -> list[PlotText]:
    """Returns a figure per claimed trend with values at two numbers at least."""
    drawn: dict[tuple[str, str | None, str], PlotText] = {}
    for verdict in summary.verdicts:
        claim = verdict.claim
        key = (claim.of, claim.against, verdict.metric)
        if claim.kind != "trend" or key in drawn:
            continue
        points = trend_points(verdict, summary.runs, summary.reference)
        if len({point.at for point in points}) > 1:
            drawn[key] = _figure(verdict, points, f"trend-{len(drawn) + 1}", summary)
    return list(drawn.values())


def _figure(verdict: ClaimVerdict, points: list[TrendPoint], name: str, summary: StudySummary) -> PlotText:
    claim, scale = verdict.claim, claim_scale(verdict)
    paper = claim.paper if isinstance(claim.paper, list) and len(claim.paper) == len(points) else None
    # The paper's list follows the variants as they are declared, and the line the numbers.
    published = None if paper is None else dict(zip((point.at for point in points), paper, strict=True))
    points = sorted(points, key=lambda point: point.at)
    axis = claim.of.partition("*")[0].rpartition(",")[2].rstrip("=") or "number"
    against = "" if claim.against == "nothing" else f" to {claim.against or summary.reference}"
    quantity = f"difference in {verdict.metric}" if against else verdict.metric
    unit = scale.difference_unit.strip() if against else scale.unit.strip()
    with drawing(name) as (figure, axes):
        if claim.scale == "log2" and points[0].at > 0:
            axes.set_xscale("log", base=2)
        at = [point.at for point in points]
        means = [point.found.mean * scale.factor for point in points]
        drawn = [draw_interval(axes, point.found, point.at, scale.factor, True, color=OURS) for point in points]
        ends = [end for pair in drawn for end in pair]
        axes.plot(at, means, color=OURS, marker="s", markersize=6)
        if against:
            axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xticks(at, [f"{place:g}" for place in at], minor=False)
        axes.minorticks_off()
        finish(axes, axis, quantity + (f", {unit}" if unit else ""))
        if published is not None:
            _paper(axes, published, [*means, *ends])
        svg = inline_svg(figure, f"{quantity} against {axis}")
    caption = f"{claim.says}: {verdict.words}. {quantity.capitalize()}{against} at each {axis}"
    caption += (
        f", with its 95 % interval over {verdict.unit}s." if ends else "; without repetition there is no interval."
    )
    if published is not None:
        source = f" ({claim.source})" if claim.source else ""
        caption += f" Diamonds: the paper’s{source}, on its own scale to the right with the same zero."
    return PlotText(name, svg, caption)


def _paper(axes: Any, published: dict[float, float], ours: list[float]) -> None:
    """The published figures on a scale of their own, whose zero is where ours is."""
    beside = axes.twinx()
    at = sorted(published)
    hollow = {"markerfacecolor": "none", "markeredgecolor": PAPERS, "markersize": 6, "markeredgewidth": 1.2}
    beside.plot(at, [published[place] for place in at], "D", **hollow)
    beside.spines["right"].set_visible(True)
    beside.set_ylabel("paper")
    low, high = min(0.0, *ours), max(0.0, *ours)
    theirs = max(abs(value) for value in published.values()) or 1.0
    stretch = (max(abs(low), abs(high)) or 1.0) / theirs
    low = min(low, *(value * stretch for value in published.values()))
    high = max(high, *(value * stretch for value in published.values()))
    margin = 0.08 * (high - low or 1.0)
    axes.set_ylim(low - margin, high + margin)
    beside.set_ylim((low - margin) / stretch, (high + margin) / stretch)

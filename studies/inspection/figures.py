"""The figures of one adapter: those of the report that need no second one, and the slice of its loss."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from lrlora.studies.inspection.inspecting import Inspection
from lrlora.studies.inspection.landscape import Landscape
from lrlora.studies.report.figure_parts import PlotText, drawing, finish
from lrlora.studies.report.layer_figures import in_order, spectrum_figure, transfer_figure
from lrlora.studies.report.palette import INK, Look, looks
from lrlora.studies.report.svg import inline_svg
from lrlora.studies.stats.layers import by_depth, group_of, median_spectra

_LEVELS = 9


def inspection_figures(inspection: Inspection) -> list[PlotText]:
    """Everything there is to draw, in reading order."""
    look = looks([inspection.method], None)[inspection.method]
    record = {"status": "finished", "layers": [dataclasses.asdict(layer) for layer in inspection.layers]}
    figures = []
    if len({layer.depth for layer in inspection.layers if layer.depth is not None}) > 1:
        figures.append(rank_figure(record))
    if spectra := median_spectra([record]):
        drawn = spectrum_figure({inspection.method: spectra}, {inspection.method: look})
        figures.append(dataclasses.replace(drawn, legend=()))
    if inspection.curves:
        figures.append(transfer_figure("phi", "", [("as saved", inspection.curves)], look))
    if inspection.landscape is not None:
        figures.append(landscape_figure(inspection.landscape, look))
    return figures


def rank_figure(record: dict[str, Any]) -> PlotText:
    """Stable rank by depth: a dot for each module, and the mean of each half of a transformer block."""
    groups = list(dict.fromkeys(group_of(layer["role"]) for layer in record["layers"] if layer["depth"] is not None))
    style = looks(in_order(set(groups)), None)
    with drawing("stable-rank", 215) as (figure, axes):
        for group in groups:
            look = style[group]
            mine = [layer for layer in record["layers"] if group_of(layer["role"]) == group]
            dots = [(x["depth"], x["stable_rank"]) for x in mine if x["depth"] is not None and x["stable_rank"]]
            line = by_depth([record], "stable_rank", group)
            if not line:
                continue
            axes.plot(*zip(*dots, strict=True), look.marker, color=look.colour, markersize=3.5, alpha=0.5)
            axes.plot(*zip(*line, strict=True), **look.line, label=_words(group))
        axes.locator_params(axis="x", integer=True)
        axes.set_ylim(bottom=1)
        axes.legend(frameon=False, fontsize="medium", ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
        finish(axes, "layer", "stable rank of ΔW")
        svg = inline_svg(figure, "stable rank by depth")
    return PlotText(
        "stable-rank", svg, "Stable rank of ΔW by depth: each module, and the mean of each half of a block."
    )


def landscape_figure(landscape: Landscape, look: Look) -> PlotText:
    """Lines of equal loss, closer together where it is steep, with the adapter in the middle."""
    known = np.array([[np.nan if loss is None else loss for loss in row] for row in landscape.loss])
    with drawing("landscape", 330) as (figure, axes):
        if np.isfinite(known).sum() > 1 and np.nanmax(known) > np.nanmin(known):
            lines = axes.contour(
                landscape.at,
                landscape.at,
                np.ma.masked_invalid(known),
                levels=_LEVELS,
                colors=[look.colour],
                linewidths=np.linspace(0.7, 1.8, _LEVELS + 2),
            )
            axes.clabel(lines, fontsize=9, colors=[INK], fmt="%.3g")
        axes.plot([0], [0], "o", color=INK, markersize=5)
        axes.set_aspect("equal")
        axes.locator_params(nbins=5)
        finish(axes, "α", "β")
        svg = inline_svg(figure, "loss around the adapter")
    middle = landscape.loss[len(landscape.at) // 2][len(landscape.at) // 2]
    told = "not finite" if middle is None else f"{middle:.4f}"
    caption = (
        f"Loss on {landscape.task} along two random directions, thicker lines where it is higher. The dot is the "
        f"adapter (loss {told}); a step of 1 is as long as all of its trained parameters. The directions are scaled to "
        "this adapter, so that pictures of two adapters cannot be compared."
    )
    return PlotText("landscape", svg, caption)


def _words(group: str) -> str:
    return {"attention": "attention", "mlp": "MLP"}.get(group, "other modules")

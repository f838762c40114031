"""Figures of the layers: spectra of ΔW, and the learned φ.

They are Figures 4 and 6 to 17 of the LR-LoRA paper. ``lrlora inspect`` draws them of a single adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrlora.policies.roles import ROLES
from lrlora.studies.report.figure_parts import PlotText, drawing, drawing_panels, is_lowest
from lrlora.studies.report.palette import FAINT, INK, Look
from lrlora.studies.report.svg import inline_svg
from lrlora.studies.stats.layers import first_snapshots, median_spectra
from lrlora.studies.stats.summary import StudySummary

MOST_VARIANTS = 4
"""Of how many variants the learned φ is drawn: each takes a figure of its own."""
PLACES = ("early", "middle", "late")
FLOOR = 1e-5
"""Below that share of σ_1, a singular value of weights in float32 is rounding."""
BENT = 0.2
"""Share of the largest |f| by which one curve has to deviate from its linear fit for f itself to be drawn."""
_STAGES = ((1.0, (0, (1, 1.4)), 0.75), (1.1, (0, (4, 1.6)), 0.85), (1.6, "-", 1.0))
"""Line width, dashes and opacity of the snapshots of a run, first to last."""

Curve = Mapping[str, Any]
"""A :class:`lrlora.analysis.TransferCurve` as a record has it, with ``role``, ``depth`` and ``place``."""


def layer_figures(summary: StudySummary, style: Mapping[str, Look]) -> list[PlotText]:
    """Returns the spectra of all variants, and the learned φ of those that have one, six at most."""
    spectra = {v.name: read for v in summary.variants if (read := median_spectra(summary.records_of(v.name)))}
    seen = {v.name: first_snapshots(summary.records_of(v.name)) for v in summary.variants}
    drawn = {name: found for name, found in seen.items() if any(look["curves"] for look in found)}
    figures = [spectrum_figure(spectra, style)] if spectra else []
    for index, (name, found) in enumerate(list(drawn.items())[:MOST_VARIANTS]):
        stages = [(f"step {look['step']}", look["curves"]) for look in found if look["curves"]]
        more = ""
        if index == 0 and len(drawn) > MOST_VARIANTS:
            more = f" Drawn of the first {MOST_VARIANTS} of {len(drawn)} variants with a φ."
        figures.append(transfer_figure(f"phi-{index}", f"{name}, first seed: ", stages, style[name], more))
    return figures


def spectrum_figure(spectra: Mapping[str, Mapping[str, Sequence[float]]], style: Mapping[str, Look]) -> PlotText:
    """Draws the singular values of ΔW over the largest, a panel for each projection.

    Args:
        spectra: By variant and role, at the relative indices :data:`lrlora.analysis.SPECTRUM_AT`.
        style: How each variant is drawn.
    """
    from lrlora.analysis import SPECTRUM_AT

    roles = in_order({role for found in spectra.values() for role in found})
    # On a logarithmic axis the first singular value, at index 0, stands just before the second.
    at = [SPECTRUM_AT[1] / 2, *SPECTRUM_AT[1:]]
    with drawing_panels("spectrum", len(roles), edges=45, row=118) as (figure, panels):
        for place, (axes, role) in enumerate(zip(panels, roles, strict=True)):
            for name, found in spectra.items():
                if role in found:
                    shown = [(x, y) for x, y in zip(at, found[role], strict=True) if y >= FLOOR]
                    axes.plot(*zip(*shown, strict=True), **style[name].line, linewidth=1.3)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_ylim(FLOOR, 1.6)
            axes.set_yticks([1e-4, 1e-2, 1], ["10⁻⁴", "10⁻²", "1"])
            axes.set_xticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
            axes.minorticks_off()
            axes.set_title(role)
            axes.tick_params(labelbottom=is_lowest(place, len(roles)))  # also where the place below is empty
            axes.grid(color=FAINT)
        figure.supxlabel("relative index k / (n − 1)", fontsize="medium")
        figure.supylabel("σₖ / σ₁", fontsize="medium")
        svg = inline_svg(figure, "singular values of the update by projection")
    caption = (
        "Singular values of ΔW over the largest, by projection: the median over modules and seeds, as in the LR-LoRA "
        "paper's Figure 4. A line ends where the values fall below 10⁻⁵, which is rounding."
    )
    return PlotText("spectrum", svg, caption, tuple(spectra))


def transfer_figure(
    name: str, title: str, stages: Sequence[tuple[str, Sequence[Curve]]], look: Look, more: str = ""
) -> PlotText:
    """Draws the learned φ, a row of panels for each projection: early, middle and late layers.

    Args:
        name: Of the figure.
        title: First words of its caption.
        stages: Times in the run, each with the curves of the chosen layers; the last one's histogram is drawn.
        look: How the variant is drawn.
        more: Last words of the caption.
    """
    roles = in_order({curve["role"] for _, curves in stages for curve in curves})
    places = [place for place in PLACES if any(curve["place"] == place for _, curves in stages for curve in curves)]
    whole = any(_bend(curve) >= BENT for _, curves in stages for curve in curves)
    with drawing(name, 40 + 96 * len(roles), len(roles), len(places), squeeze=False) as (figure, panels):
        for row, role in zip(panels, roles, strict=True):
            for axes, place in zip(row, places, strict=True):
                here = [
                    (label, curve)
                    for label, curves in stages
                    for curve in curves
                    if (curve["role"], curve["place"]) == (role, place)
                ]
                _transfer_panel(axes, [label for label, _ in stages], here, look, whole)
        figure.supxlabel("z = sᵢₙ · BA", fontsize="medium")
        figure.supylabel("f(z)" if whole else "f(z) − c·z", fontsize="medium")
        svg = inline_svg(figure, f"{title}learned transfer functions")
    words = ("dotted", "dashed", "solid")[-len(stages) :]
    told = ", ".join(f"{word}: {label}" for word, (label, _) in zip(words, stages, strict=True))
    drawn = (
        "the learned f(z) = λz + φ(z) − φ(0) and, thin, the best linear fit c·z to the last one"
        if whole
        else "the learned f(z) = λz + φ(z) − φ(0) minus its best linear fit c·z, from which it deviates by less than "
        f"{100 * BENT:.0f} % of its largest value"
    )
    drawn = title + drawn if title else drawn[0].upper() + drawn[1:]
    if len(stages) > 1:
        caption = f"{drawn}. {told.capitalize()}; behind them, the histogram of z at the last.{more}"
    else:
        caption = f"{drawn}. Behind it, the histogram of z.{more}"
    return PlotText(name, svg, caption)


def _bend(curve: Curve) -> float:
    """Returns the largest deviation from the linear fit, as a share of the largest |f|."""
    z, f = _points(curve)
    largest = float(np.abs(f).max())
    return float(np.abs(f - curve["slope"] * z).max()) / largest if largest > 0 else 0.0


def _points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(curve["low"], curve["high"], len(curve["values"])), np.asarray(curve["values"])


def _transfer_panel(
    axes: Any, labels: Sequence[str], here: Sequence[tuple[str, Curve]], look: Look, whole: bool
) -> None:
    """One layer at several times: f, or its deviation from the linear fit."""
    if not here:
        axes.set_visible(False)
        return
    last = here[-1][1]
    edges = np.linspace(last["low"], last["high"], len(last["histogram"]) + 1)
    heights = 0.8 * np.asarray(last["histogram"]) / max(last["histogram"])  # of the panel
    axes.stairs(heights, edges, fill=True, color=FAINT, zorder=0, transform=axes.get_xaxis_transform())
    ends = np.array([last["low"], last["high"]])
    axes.plot(ends, last["slope"] * ends if whole else 0 * ends, color=INK, linewidth=0.6)
    for label, curve in here:
        width, dashes, opacity = _STAGES[labels.index(label) - len(labels)]
        z, f = _points(curve)
        shown = f if whole else f - curve["slope"] * z
        axes.plot(z, shown, color=look.colour, linewidth=width, linestyle=dashes, alpha=opacity)
    axes.set_title(f"{last['role']}, layer {last['depth']}", pad=3)
    axes.locator_params(nbins=3)
    axes.tick_params(labelsize=9)


def in_order(roles: set[str]) -> list[str]:
    """Roles in the order of the computation, and others after them."""
    return sorted(roles, key=lambda role: (ROLES.index(role) if role in ROLES else len(ROLES), role))

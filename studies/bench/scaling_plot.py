"""The sweep as a figure: what was measured as dots, what the model says as lines. For a page of any background."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.report.palette import FAINT, INK, looks
from lrlora.studies.report.svg import drawing_style, inline_svg, new_figure

WIDTH, HEIGHT, LEGEND_ROW = 620, 300, 14

# An image in a page knows nothing of the page's colours. These are of middle lightness: 3 to 1 at least against both
# white and GitHub's black.
_INK = "#7a828c"
_COLOURS = {
    "currentColor": _INK,
    "var(--faint)": "#7a828c59",
    "var(--series-1)": "#2c8ad1",
    "var(--series-2)": "#d9662b",
    "var(--series-3)": "#1f9a74",
    "var(--series-4)": "#c2619a",
    "var(--series-5)": "#a8841c",
    "var(--series-6)": "#7f7bd6",
}


def draw_scaling(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """The figure as a file of SVG.

    Args:
        rows: Of the sweep; those that were refused are left out.
        name: Of the layer.
    """
    series: dict[str, list[Mapping[str, Any]]] = {}
    measured = [row for row in rows if row["ratio"] is not None]
    for row in measured:
        series.setdefault(_label(row, measured), []).append(row)
    style = looks(list(series), None)
    with drawing_style("scaling"):
        figure = new_figure(WIDTH, HEIGHT + LEGEND_ROW * ((len(series) + 1) // 2))
        axes = figure.subplots()
        axes.set_xscale("log", base=2)
        for label, points in series.items():
            look = style[label]
            x = [int(point["tokens"]) for point in points]
            ratios = [point["ratio"] for point in points]
            below = [point["ratio"] - point["quartiles"][0] for point in points]
            above = [point["quartiles"][1] - point["ratio"] for point in points]
            axes.errorbar(
                x,
                ratios,
                [below, above],
                fmt=look.marker,
                color=look.colour,
                markersize=5,
                elinewidth=1.2,
                label=label,
            )
            if all(point["model_ratio"] is not None for point in points):
                axes.plot(x, [point["model_ratio"] for point in points], color=look.colour, linestyle=look.line_style)
        axes.axhline(1.0, color=INK, linewidth=0.8)
        axes.set_ylim(bottom=0)
        ticks = sorted({int(row["tokens"]) for row in measured})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("tokens in a step")
        axes.set_ylabel("time of a step, × LoRA")
        axes.set_title(f"{name}: dots measured (quartiles), lines the model".replace("$", r"\$"))
        axes.grid(axis="y", color=FAINT)
        axes.set_axisbelow(True)
        if series:
            figure.legend(loc="outside lower center", ncols=2, frameon=False)
        svg = inline_svg(figure, "scaling", f"time of a step of {name}, LR-LoRA over LoRA, by tokens")
    return stand_alone(svg)


def check_place(path: Path, option: str = "--plot") -> None:
    """See that a figure can be written somewhere, before the minutes that go into it.

    Args:
        path: Where.
        option: By which a user said so.

    Raises:
        StudyError: It cannot.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise StudyError(f"{option} {path}: {'is a folder' if path.is_dir() else 'its folder does not exist'}")


def write_figure(path: Path, svg: str, option: str = "--plot") -> None:
    """Write the figure; see :func:`check_place`.

    Raises:
        StudyError: It cannot be written there.
    """
    try:
        path.write_text(svg, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"{option} {path}: {error.strerror}") from None


def _label(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """What tells a series from the others."""
    parts = [f"r = {row['rank']}"]
    for key, text in (("grid_points", "N = {}"), ("basis", "{}"), ("engine", "{}")):
        if len({other[key] for other in rows}) > 1:
            parts.append(text.format(row[key]))
    return ", ".join(parts)


def stand_alone(svg: str) -> str:
    """A fragment of a page as a file of its own."""
    for variable, colour in _COLOURS.items():
        svg = svg.replace(variable, colour)
    svg = svg.replace("font-family: 'DejaVu Sans'", "font-family: 'DejaVu Sans', Verdana, sans-serif")
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None
    size = f'width="{box[1]}" height="{box[2]}"'
    # The sheet that the page has for figures: lines are drawn, not filled.
    sheet = "<style>*{stroke-linejoin:round;stroke-linecap:butt}</style>"
    return re.sub(r"<svg ([^>]*)>", lambda found: f"<svg {spaces} {size} {found[1]}>{sheet}", svg, count=1) + "\n"

"""matplotlib figures as fragments of a page: text stays text, colours follow the page, ids are unique, bytes repeat."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lrlora.studies.report.palette import CSS_COLOURS, FAINT, INK

POINTS_PER_INCH = 72
FONT_SIZE = 11.0


@contextmanager
def drawing_style(name: str) -> Iterator[None]:
    """matplotlib's settings while a figure is drawn; the caller's own are back afterwards.

    Args:
        name: Name of the figure. It seeds the ids inside, which then are the same in every run.
    """
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "DejaVu Sans",  # ships with matplotlib, so that the layout is the same everywhere
        "font.size": FONT_SIZE,
        "axes.titlesize": FONT_SIZE,
        "axes.labelsize": FONT_SIZE,
        "axes.titlelocation": "left",
        "axes.unicode_minus": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "lines.linewidth": 1.4,
        "path.simplify": True,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "axes.titlecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": FAINT,
        "grid.linewidth": 0.5,
    }
    with matplotlib.rc_context():
        # A user's matplotlibrc must not change a report.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in points, that leaves the process's matplotlib backend alone."""
    figure = Figure(
        figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), dpi=POINTS_PER_INCH, layout="constrained"
    )
    FigureCanvasSVG(figure)
    return figure


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``<svg>`` element to put into a page.

    Args:
        figure: The figure, drawn under :func:`drawing_style`.
        name: Its name, unique on the page: the prefix of all ids.
        description: What it shows, for who cannot see it.
    """
    text = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    # The sheet inside a figure would apply to the whole page; style.css has its one rule.
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = _compact(svg)
    for placeholder, colour in CSS_COLOURS.items():
        svg = svg.replace(placeholder, colour)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    opening = f'<svg {box.group()} role="img" aria-label="{escape(description)}">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1).strip()


def _compact(svg: str) -> str:
    """The same drawing in three fifths of the characters: a page of many figures is sent and kept whole."""
    svg = re.sub(r'\b(?:x|y)="[^"]*"', lambda found: _rounded(found[0]), svg)
    svg = re.sub(r'(?<= d=")[^"]*', lambda found: _path(_rounded(found[0])), svg)
    used = {name for pair in re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', svg) for name in pair}
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    return re.sub(r">\s+<", "><", svg)


def _rounded(text: str) -> str:
    """With numbers to a tenth of a point: half of that is beyond any screen."""
    return re.sub(r"-?\d+\.\d+", lambda found: f"{round(float(found[0]), 1) + 0.0:g}", text)


def _path(commands: str) -> str:
    """Without the letters of lines that follow a point: every further pair of numbers is a line.

    >>> _path("M 0 1 L 2 3 L 4 5 z M 6 7 C 8 9 8 9 8 9 L 1 1")
    'M 0 1 2 3 4 5 z M 6 7 C 8 9 8 9 8 9 L 1 1'
    """
    words, current = [], ""
    for word in commands.split():
        if word == "L" and current in ("M", "L"):
            continue
        if word.isalpha():
            current = word
        words.append(word)
    return " ".join(words)

"""matplotlib figures as SVG: fragments of a page, whose colours follow the page, and files of their own."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from xml.etree import ElementTree

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lrlora.studies.report.palette import CSS_COLOURS, FAINT, FILE_COLOURS, INK

POINTS_PER_INCH = 72
FONT_SIZE = 11.0
FONT = "DejaVu Sans"  # ships with matplotlib, so that the layout is the same everywhere
SVG = "{http://www.w3.org/2000/svg}"

STYLE = {
    "svg.fonttype": "none",
    "font.family": FONT,
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
} | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK
)


@contextmanager
def drawing_style(name: str) -> Iterator[None]:
    """matplotlib's settings while a figure is drawn; the caller's own are restored afterwards.

    Args:
        name: Name of the figure. It seeds the ids inside, which then are unique and the same in every run.
    """
    with matplotlib.rc_context():
        # A user's matplotlibrc must not change a report.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | {"svg.hashsalt": name})
        yield


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure, in points, without pyplot."""
    figure = Figure(
        figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), dpi=POINTS_PER_INCH, layout="constrained"
    )
    FigureCanvasSVG(figure)
    return figure


def inline_svg(figure: Figure, description: str) -> str:
    """Returns the figure as an ``<svg>`` element to put into a page, in CSS variables of ``style.css``.

    Args:
        figure: The figure, drawn under :func:`drawing_style`.
        description: Its text alternative.
    """
    root = ElementTree.fromstring(_saved(figure))
    references = " ".join(value for element in root.iter() for key, value in element.items() if key != "id")
    for parent in root.iter():
        parent.text, parent.tail = (text if text and text.strip() else None for text in (parent.text, parent.tail))
        if f"#{parent.get('id')}" not in references:
            parent.attrib.pop("id", None)
        for key in {"d", "x", "y"} & parent.attrib.keys():
            parent.set(key, " ".join(map(_rounded, parent.attrib[key].split())))
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):  # a style sheet would apply to the whole page
                parent.remove(child)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": description}
    ElementTree.register_namespace("", SVG.strip("{}"))
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return _substituted(ElementTree.tostring(root, encoding="unicode"), CSS_COLOURS | {f"'{FONT}'": "var(--sans)"})


def svg_file(figure: Figure, description: str) -> str:
    """Returns the figure as a file of its own, in colours that are legible on a light and on a dark page."""
    return _substituted(
        _saved(figure, Title=description), FILE_COLOURS | {f"'{FONT}'": f"'{FONT}', Verdana, sans-serif"}
    )


def _saved(figure: Figure, **metadata: str) -> str:
    text = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(text, format="svg", transparent=True, metadata=nothing | metadata)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _rounded(word: str) -> str:
    """Returns a number of a path, rounded to a tenth of a point; its commands as they are."""
    return word if word.isalpha() else f"{round(float(word), 1) + 0.0:g}"


def _substituted(svg: str, substitutes: Mapping[str, str]) -> str:
    for placeholder, colour in substitutes.items():
        svg = svg.replace(placeholder, colour)
    return svg

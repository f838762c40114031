"""Pages of reports, comparisons, searches and inspections: sections of tables, terms, figures and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lrlora.studies.report.figure_parts import PlotText
from lrlora.studies.report.palette import Look
from lrlora.studies.report.table import Table

LEGEND_UNDER_FIGURE = 8
"""Up to so many variants, each figure has a legend of its own; more names would be longer than the figures."""


@dataclass(frozen=True)
class Folded:
    """A table that the page shows when its summary is opened."""

    summary: str
    table: Table


@dataclass(frozen=True)
class Figures:
    """Figures side by side.

    Attributes:
        plots: The figures.
        looks: How the variants in their legends are drawn.
        light: Whether they are drawn for a light background, and not in the colours of the page.
    """

    plots: Sequence[PlotText]
    looks: Mapping[str, Look] = field(default_factory=dict)
    light: bool = False

    @property
    def shared_legend(self) -> bool:
        """Whether one legend serves all figures."""
        return len(self.looks) > LEGEND_UNDER_FIGURE and any(plot.legend for plot in self.plots)


Terms = list[tuple[str, str]]
"""Terms with their descriptions."""

Part = Table | Folded | Figures | Terms | str
"""A part of a section; text is a paragraph, which may be ``Markup``."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; ``footer`` sets it apart at the end of the page."""

    heading: str
    parts: Sequence[Part]
    footer: bool = False


def render_page(
    title: str, kicker: str, heading: str, headline: str, sections: Sequence[Section], caveats: Sequence[str] = ()
) -> str:
    """Returns a page without scripts or network, light and dark, for narrow and wide windows.

    Args:
        title: In the title of the window.
        kicker: The line above the heading.
        heading: The largest line.
        headline: The paragraph below it.
        sections: The rest of the page.
        caveats: Sentences below the headline.
    """
    here = "lrlora.studies.report"
    environment = Environment(
        loader=PackageLoader(here, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_unbroken,
    )
    environment.filters["subscripts"] = _subscripts
    style = Markup(files(here).joinpath("style.css").read_text(encoding="utf-8"))
    return environment.get_template("page.html").render(
        title=title, kicker=kicker, heading=heading, headline=headline, sections=sections, caveats=caveats, style=style
    )


def _unbroken(value: Any) -> Any:
    """Keep a number and its per cent sign on one line."""
    return value.replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value


def _subscripts(text: str) -> Markup:
    """Set the indices of the mathematics low: the plain-text forms write them with an underscore."""
    return Markup(re.sub(r"_(F|max|in|z)(?![a-z])", r"<sub>\1</sub>", str(_unbroken(str(escape(text))))))

"""``index.html``: the whole report in one file that needs nothing else."""

from __future__ import annotations

from markupsafe import Markup

from lrlora.studies.report.contents import Section, sections
from lrlora.studies.report.figures import all_figures
from lrlora.studies.report.palette import looks
from lrlora.studies.report.sentences import caveats, headline, reproduce_command
from lrlora.studies.report.templates import page_environment
from lrlora.studies.stats.summary import StudySummary

LEGEND_UNDER_FIGURE = 8
"""Up to so many variants, each figure has a legend of its own."""


def page_html(summary: StudySummary, *, alone: bool = False) -> str:
    """The report as a page: no script, no network, light and dark, for narrow and wide windows.

    Args:
        summary: What it shows.
        alone: Whether the page is a single file, without links to the other files of a report.
    """
    figures = all_figures(summary)
    style = looks([variant.name for variant in summary.variants], summary.reference)

    def shown(section: Section) -> bool:
        return bool(figures) or section.heading != "Figures"

    return (
        page_environment()
        .get_template("page.html")
        .render(
            summary=summary,
            headline=headline(summary),
            caveats=caveats(summary),
            sections=[section for section in sections(summary, alone) if shown(section)],
            alone=alone,
            # The drawings are our own markup; their words were escaped when they were drawn.
            figures=[(figure, Markup(figure.svg)) for figure in figures],
            looks=style,
            # So many names under every figure would be longer than the figures.
            shared_legend=len(style) > LEGEND_UNDER_FIGURE and any(figure.legend for figure in figures),
            command=reproduce_command(summary),
        )
    )

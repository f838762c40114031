"""``index.html``: the whole report in one file that needs nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from markupsafe import Markup

from lrlora.studies.report.cell_tables import cell_table, divergence_table
from lrlora.studies.report.design import design_facts
from lrlora.studies.report.figure_parts import PlotText
from lrlora.studies.report.figures import all_figures
from lrlora.studies.report.measured_table import measured_table
from lrlora.studies.report.palette import looks
from lrlora.studies.report.place_tables import place_difference_table, place_table
from lrlora.studies.report.presentation import claim_table, cost_table, layer_table, result_table, test_table
from lrlora.studies.report.provenance import provenance_facts
from lrlora.studies.report.sentences import caveats, definitions, headline, paper_note, reproduce_command, resolution
from lrlora.studies.report.summary import StudySummary
from lrlora.studies.report.templates import page_environment
from lrlora.studies.report.tuning_table import tuning_table

LEGEND_UNDER_FIGURE = 8
"""Up to so many variants, each figure has a legend of its own."""


def page_html(summary: StudySummary, *, alone: bool = False) -> str:
    """The report as a page: no script, no network, light and dark, for narrow and wide windows.

    Args:
        summary: What it shows.
        alone: Whether the page will lie by itself, and not beside the other files of a report: without links to them.
    """
    figures = all_figures(summary)
    style = looks([variant.name for variant in summary.variants], summary.reference)
    return (
        page_environment()
        .get_template("page.html")
        .render(
            summary=summary,
            headline=headline(summary),
            caveats=caveats(summary),
            design=design_facts(summary),
            claims=claim_table(summary),
            results=result_table(summary),
            places=place_table(summary),
            place_differences=place_difference_table(summary),
            tuned=tuning_table(summary),
            measured=measured_table(summary),
            divergence=divergence_table(summary),
            tests=test_table(summary),
            cost=cost_table(summary),
            layers=layer_table(summary),
            cells=replace(cell_table(summary), links={}) if alone else cell_table(summary),
            alone=alone,
            resolution=resolution(summary),
            paper_note=paper_note(summary),
            figures=[_figure(figure) for figure in figures],
            looks=style,
            # So many names under every figure would be longer than the figures.
            shared_legend=len(style) > LEGEND_UNDER_FIGURE and any(figure.legend for figure in figures),
            definitions=definitions(summary),
            provenance=provenance_facts(summary),
            command=reproduce_command(summary),
        )
    )


def _figure(figure: PlotText) -> dict[str, Any]:
    # The drawing is our own markup, its words were escaped when it was drawn.
    return {"name": figure.name, "svg": Markup(figure.svg), "caption": figure.caption} | {
        "legend": figure.legend,
        "points": figure.points,
    }

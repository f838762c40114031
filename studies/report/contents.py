"""The contents of a study's report in their order, for the page and for Markdown."""

from __future__ import annotations

from markupsafe import Markup

from lrlora.studies.report.cell_tables import cell_table, divergence_table
from lrlora.studies.report.claim_table import claim_table, look_table
from lrlora.studies.report.cost_tables import cost_table, layer_table, measured_table
from lrlora.studies.report.design_facts import design_facts, provenance_facts
from lrlora.studies.report.figures import all_figures
from lrlora.studies.report.page import Figures, Folded, Part, Section, render_page
from lrlora.studies.report.palette import looks
from lrlora.studies.report.result_tables import (
    place_difference_table,
    place_table,
    result_table,
    test_table,
    tuning_table,
)
from lrlora.studies.report.sentences import caveats, definitions, headline, paper_note, reproduce_command, resolution
from lrlora.studies.stats.summary import StudySummary

FILES = ("results.csv", "results.json", "results.tex", "summary.md")
"""The files beside the page."""


def sections(summary: StudySummary, *, figures: Figures | None = None, alone: bool = False) -> list[Section]:
    """Returns the sections that have something to show.

    Args:
        summary: The study.
        figures: Its figures, for a page.
        alone: Whether the report is a single file, without links to others.
    """
    tuned, tests = tuning_table(summary), test_table(summary)
    cells = cell_table(summary, linked=not alone)
    links = Markup(", ").join(Markup('<a href="{0}">{0}</a>').format(name) for name in FILES)
    again = [("run again", reproduce_command(summary))]
    found: dict[str, list[Part | None]] = {
        "Design": [design_facts(summary), tuned and Folded("The settings that tuning chose", tuned)],
        "Verdicts": [claim_table(summary), look_table(summary)],
        "Results": [
            result_table(summary),
            place_table(summary),
            place_difference_table(summary),
            *resolution(summary),
            paper_note(summary),
            tests and Folded("The paired tests in full", tests),
        ],
        "Figures": [figures],
        "Cost": [cost_table(summary)],
        "Further measures": [measured_table(summary)],
        "Layers": [layer_table(summary)],
        "Divergence": [divergence_table(summary)],
        "Definitions": [definitions(summary)],
        "Cells": [
            Folded("Every cell with its seed, metric, status and MLflow run", cells),
            Markup("The same as data: {}.").format(links) if figures and not alone else None,
        ],
        "Provenance": [provenance_facts(summary) + (again if figures else [])],
    }
    kept = {heading: [part for part in parts if part] for heading, parts in found.items()}
    return [Section(heading, parts, heading == "Provenance") for heading, parts in kept.items() if parts]


def page_html(summary: StudySummary, *, alone: bool = False) -> str:
    """Returns ``index.html``: the whole report in one file that needs nothing else.

    Args:
        summary: What it shows.
        alone: Whether the page is a single file, without links to the other files of a report.
    """
    figures = Figures(all_figures(summary), looks([variant.name for variant in summary.variants], summary.reference))
    return render_page(
        f"{summary.name}: study report",
        f"Study {summary.name}",
        summary.question or summary.name,
        headline(summary),
        [
            part
            for part in sections(summary, figures=figures, alone=alone)
            if figures.plots or part.heading != "Figures"
        ],
        caveats(summary),
    )

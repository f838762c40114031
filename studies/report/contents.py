"""The contents of a report in their order, for the page and for Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lrlora.studies.report.cell_tables import cell_table, divergence_table
from lrlora.studies.report.claim_table import claim_table
from lrlora.studies.report.cost_tables import cost_table, layer_table, measured_table
from lrlora.studies.report.design_facts import design_facts, provenance_facts
from lrlora.studies.report.result_tables import (
    place_difference_table,
    place_table,
    result_table,
    test_table,
    tuning_table,
)
from lrlora.studies.report.sentences import definitions, paper_note, resolution
from lrlora.studies.report.table import Table
from lrlora.studies.stats.summary import StudySummary


@dataclass(frozen=True)
class Folded:
    """A table that the page shows when its summary is opened."""

    summary: str
    table: Table


Part = Table | Folded | str | list[tuple[str, str]] | Literal["figures"]
"""A table, a paragraph, terms with their descriptions, or the figures."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    heading: str
    parts: tuple[Part, ...]


def sections(summary: StudySummary, alone: bool = False) -> list[Section]:
    """The sections that have something to show.

    Args:
        summary: The study.
        alone: Whether the report is a single file, without links to others.
    """
    tuned, tests = tuning_table(summary), test_table(summary)
    cells = cell_table(summary, linked=not alone)
    found: dict[str, list[Part | None]] = {
        "Design": [design_facts(summary), tuned and Folded("The settings that tuning chose", tuned)],
        "Verdicts": [claim_table(summary)],
        "Results": [
            result_table(summary),
            place_table(summary),
            place_difference_table(summary),
            *resolution(summary),
            paper_note(summary),
            tests and Folded("The paired tests in full", tests),
        ],
        "Figures": ["figures"],
        "Cost": [cost_table(summary)],
        "Further measures": [measured_table(summary)],
        "Layers": [layer_table(summary)],
        "Divergence": [divergence_table(summary)],
        "Definitions": [definitions(summary)],
        "Cells": [Folded("Every cell with its seed, metric, status and MLflow run", cells)],
        "Provenance": [provenance_facts(summary)],
    }
    kept = {heading: tuple(part for part in parts if part) for heading, parts in found.items()}
    return [Section(heading, parts) for heading, parts in kept.items() if parts]

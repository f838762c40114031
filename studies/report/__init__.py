"""The report of a study: its question, its results with their uncertainty, and the runs behind each number.

``summary.md``, ``results.csv``, ``results.json``, ``results.tex`` and one self-contained
``index.html``. scipy, matplotlib and jinja2 load only when a report is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from lrlora.studies.report.study_comparison import StudyComparison
    from lrlora.studies.stats.source import Results

__all__ = ["FORMATS", "print_comparison", "print_summary", "report_text", "write_report"]

FORMATS = ("latex", "csv", "json", "md", "html")
"""The formats of a report."""


def write_report(results: Results) -> Path:
    """Write the report of a study, complete or partial, into ``results.out / "report"``.

    No file is replaced before all are written: a call that is interrupted before leaves the previous report.

    Returns:
        The folder.

    Raises:
        OSError: The folder cannot be written.
    """
    from lrlora.studies.report.writing import write_report as write

    return write(results)


def report_text(results: Results, format: str) -> str:
    """One file of the report as text; the page has no links to the other files.

    Args:
        results: The study's cells as they stand.
        format: One of :data:`FORMATS`.
    """
    from lrlora.studies.report.contents import page_html
    from lrlora.studies.report.writing import WRITERS
    from lrlora.studies.stats.summary import summarise

    summary = summarise(results)
    return page_html(summary, alone=True) if format == "html" else WRITERS[format][1](summary)


def print_comparison(found: StudyComparison, console: Console) -> None:
    """Print the comparison of two studies on a terminal."""
    from lrlora.studies.report.terminal import print_comparison as print_

    print_(found, console)


def print_summary(results: Results, console: Console) -> None:
    """Print the report's main table, its headline and its caveats on a terminal."""
    from lrlora.studies.report.terminal import print_summary as print_

    print_(results, console)

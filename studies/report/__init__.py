"""The report of a study: what was asked, what came out, how sure that is, and where each number comes from.

``summary.md``, ``results.csv``, ``results.json``, ``results.tex`` and one self-contained
``index.html``. scipy, matplotlib and jinja2 load only when a report is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from lrlora.studies.report.source import Results

__all__ = ["print_summary", "write_report"]


def write_report(results: Results) -> Path:
    """Write the report of a study, complete or partial, into ``results.out / "report"``.

    The folder is replaced as a whole, once everything is written: an interrupted call leaves the previous one.

    Returns:
        The folder.

    Raises:
        OSError: The folder cannot be written.
    """
    from lrlora.studies.report.writing import write_report as write

    return write(results)


def print_summary(results: Results, console: Console) -> None:
    """Print the report's main table, its headline and its caveats on a terminal."""
    from lrlora.studies.report.terminal import print_summary as print_

    print_(results, console)

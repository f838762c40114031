"""The files of a report: what writes each, and how they are put in place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from lrlora.studies.report.contents import page_html
from lrlora.studies.report.data_files import cells_csv, summary_json
from lrlora.studies.report.latex import results_latex
from lrlora.studies.report.markdown import summary_markdown
from lrlora.studies.stats.source import Results
from lrlora.studies.stats.summary import StudySummary, summarise

FOLDER = "report"
WRITERS: Mapping[str, tuple[str, Callable[[StudySummary], str]]] = {
    "md": ("summary.md", summary_markdown),
    "csv": ("results.csv", cells_csv),
    "json": ("results.json", summary_json),
    "latex": ("results.tex", results_latex),
    "html": ("index.html", page_html),
}
"""By format, the file of a report and what writes it."""

FORMATS = tuple(WRITERS)


def write_report(results: Results, folder: Path | None = None) -> Path:
    """Write the report of a study, complete or partial, and return its folder.

    No file is replaced before all are written: a call that is interrupted before leaves the previous report.

    Args:
        results: The study's cells as they stand.
        folder: By default ``results.out / "report"``. In another folder the page has no links to the study's.

    Raises:
        OSError: The folder cannot be written.
    """
    summary = summarise(results)
    files = {name: write(summary) for name, write in WRITERS.values()}
    if folder is not None:
        files[WRITERS["html"][0]] = page_html(summary, alone=True)
    return write_files(folder or results.out / FOLDER, files)


def report_text(results: Results, format: str) -> str:
    """Returns one file of the report as text; the page has no links to the other files.

    Args:
        results: The study's cells as they stand.
        format: One of :data:`FORMATS`.
    """
    summary = summarise(results)
    return page_html(summary, alone=True) if format == "html" else WRITERS[format][1](summary)


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files into a folder, each whole or not at all, and none before all are on disk; return the folder.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as staging:
        for name, text in files.items():
            with (Path(staging) / name).open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for name in files:
            (Path(staging) / name).replace(folder / name)
    return folder

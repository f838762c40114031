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


def write_report(results: Results) -> Path:
    """Write the files of a report and return their folder, ``results.out / "report"``."""
    summary = summarise(results)
    return write_files(results.out / FOLDER, {name: write(summary) for name, write in WRITERS.values()})


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

"""The files of a report, put in place all at once."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from lrlora.studies.report.html import page_html
from lrlora.studies.report.latex import results_latex
from lrlora.studies.report.markdown import summary_markdown
from lrlora.studies.report.source import Results
from lrlora.studies.report.summary import StudySummary, summarise
from lrlora.studies.report.tables import cells_csv, summary_json

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
    files = {name: write(summary) for name, write in WRITERS.values()}
    results.out.mkdir(parents=True, exist_ok=True)
    return replace_folder(results.out / FOLDER, files)


def replace_folder(folder: Path, files: Mapping[str, str]) -> Path:
    """Replace a folder by one that holds ``files``, by renames alone once everything is on disk.

    What else the folder held is kept. At every moment the folder is the old one, the new one or, between two renames,
    absent; it is never a mixture, and on an exception the old one is put back.

    Raises:
        OSError: The folder's parent cannot be written.
    """
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    retired = staging.with_name(staging.name + "-previous")
    try:
        # mkdtemp makes a private folder; the report is as readable as any other output.
        staging.chmod(folder.parent.stat().st_mode & 0o777)
        for name, text in files.items():
            with (staging / name).open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        _keep_others(folder, staging, set(files))
        _swap(staging, folder, retired)
    finally:
        if retired.exists() and not folder.exists():
            retired.rename(folder)
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)
    return folder


def _keep_others(folder: Path, staging: Path, written: set[str]) -> None:
    """Copy what else the folder holds. Another process may put a new folder in its place meanwhile: then again."""
    for _ in range(20):
        try:
            if folder.is_dir():
                _copy_others(folder, staging, written)
            return
        except (FileNotFoundError, shutil.Error):
            time.sleep(0.01)


def _copy_others(source: Path, target: Path, written: set[str]) -> None:
    for entry in source.iterdir():
        if entry.name in written:
            continue
        if entry.is_dir():
            shutil.copytree(entry, target / entry.name, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(entry, target / entry.name, follow_symlinks=False)


def _swap(staging: Path, folder: Path, retired: Path) -> None:
    """Put ``staging`` in the place of ``folder``. Another process may be doing the same: the last one wins."""
    for _ in range(20):
        shutil.rmtree(retired, ignore_errors=True)
        with suppress(FileNotFoundError):
            folder.rename(retired)
        try:
            staging.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
    raise OSError(errno.EBUSY, "the report folder is being rewritten by another process", str(folder))

"""What a benchmark found: one JSON document, and a table that is Markdown too."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from lrlora.studies.errors import StudyError
from lrlora.studies.record.environment import describe_environment

FORMAT = 2
"""Raised when a key of the document changes its meaning."""
_WIDTH = 200
"""Columns where the output is no terminal, so that no row of a table is broken."""


def make_document(bench: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the document of a benchmark.

    Args:
        bench: The name of the command.
        settings: What it was asked for.
        rows: A mapping per method.
    """
    environment = describe_environment() | {"load_average": _load_average()}
    if settings.get("device", "cpu") == "cpu":
        environment["device"] = "cpu"  # whatever else is there
    return {"format": FORMAT, "bench": bench, "settings": dict(settings), "environment": environment, "rows": [*rows]}


def surroundings(environment: Mapping[str, Any]) -> str:
    """Returns the line without which times say nothing: device, machine, cores, threads, load average, versions."""
    packages = environment["packages"]
    load = environment["load_average"]
    versions = ", ".join(f"{name} {packages[name]}" for name in ("lrlora", "torch", "peft", "transformers"))
    device = "" if environment["device"] == "cpu" else f"{environment['device']}; "
    return (
        f"{device}{environment['processor']}, {environment['cores']} cores, {environment['threads']} threads, "
        f"load average {'unknown' if load is None else f'{load:.2f}'}; {versions}"
    )


def check_writable(path: Path | None) -> None:
    """Checks that the document can be written, before the minutes that go into it.

    Raises:
        StudyError: It cannot be.
    """
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise StudyError(f"--json {path}: {'is a folder' if path.is_dir() else 'its folder does not exist'}")


def show(document: Mapping[str, Any], columns: Mapping[str, str], path: Path | None) -> None:
    """Prints a document's surroundings and table, and writes the document.

    Args:
        document: From :func:`make_document`.
        columns: The header of each column, and the key of its cells in :func:`cells_of`.
        path: Where the document goes; None for nowhere.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    say(surroundings(document["environment"]))
    table = Table(box=box.MARKDOWN)
    for number, header in enumerate(columns):
        table.add_column(header, justify="right" if number else "left")
    for row in document["rows"]:
        cells = cells_of(row)
        table.add_row(*(cells[key] for key in columns.values()))
    console.print(table)
    if path is not None:
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def cells_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Returns the cells of a row as text; those for which it has no figures are left out."""
    first, third = row["quartiles"]
    cells = {
        "name": str(row["name"]),
        "ratio": f"{row['ratio']:.2f}",
        "quartiles": f"{first:.2f} – {third:.2f}",
        "range": f"{row['low']:.2f} – {row['high']:.2f}",
        "seconds": f"{row['seconds']:.1f}",
        "ms": f"{1e3 * row['seconds']:.3g}",
    }
    for phase in row["phases"][0] if "phases" in row else ():
        cells[phase] = f"{median(run[phase] for run in row['phases']):.1f}"
    if "operations" in row:
        cells["operations"] = f"{row['operations']['forward']:.0f} + {row['operations']['backward']:.0f}"
    if "step_mib" in row:
        cells["step_mib"] = f"{row['step_mib']:.0f}"
    if "memory_ratio" in row:
        cells["memory"] = f"{row['memory_ratio']:.2f}"
        cells["first"] = f"{row['first_ratio']:.2f}"
    return cells


def say(line: str) -> None:
    """Prints a line as it is."""
    Console(soft_wrap=True).print(line, markup=False, highlight=False)


def announce(line: str) -> None:
    """Says what goes on, on standard error."""
    Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False, style="dim")


def _load_average() -> float | None:
    """Of the last minute; None where the platform has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None

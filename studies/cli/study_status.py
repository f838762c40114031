"""``lrlora study status``: what a study has recorded, and what runs at the moment."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrlora.studies.cli.options import Folder, Json, Plugin, load_plugins

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lrlora.studies.stats.sequential import ClaimPath

_REFRESH_SECONDS = 1.0


def show_status(
    folder: Folder,
    watch: Annotated[bool, typer.Option("--watch", help="Update it until the study ends.")] = False,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Show the progress of a study: what runs where, how fast, and the result of each cell."""
    load_plugins(plugin)
    if watch and not as_json:
        _watch(folder)
    _show(folder, as_json)


def read_live(folder: Path) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Who runs a study in a folder, and how far that is; of the tuning stage while that runs. None where nobody does.

    Args:
        folder: The study's.
    """
    from lrlora.studies.execution.folder import driver_of
    from lrlora.studies.execution.live import STATUS_FILE
    from lrlora.studies.execution.tuning import FOLDER

    driver = driver_of(folder)
    if driver is None:
        return None, None
    for place in (folder / FOLDER, folder):
        try:
            return driver, json.loads((place / STATUS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return driver, None


def _show(folder: Path, as_json: bool) -> None:
    from rich.console import Console

    from lrlora.studies.execution.progress import describe
    from lrlora.studies.record.results import Results, read_study_file
    from lrlora.studies.record.versions import coordinates, coordinates_of
    from lrlora.studies.report.claim_table import state_of
    from lrlora.studies.spec.cells import expand_cells

    results = Results.load(folder)
    driver, live = read_live(folder)
    running = {one["cell"]: one for one in (live or {}).get("running", ())}
    ended = {coordinates(record): record for record in results.records}
    # Ids are read and not computed: neither data nor backbones need to be here.
    current = {coordinates(one): one["cell"] for one in (read_study_file(folder) or {}).get("cells") or ()}
    cells = [
        (cell, current.get(place := coordinates_of(cell)), ended.get(place)) for cell in expand_cells(results.study)
    ]
    paths: tuple[ClaimPath, ...] = ()
    if results.sequential is not None:
        from lrlora.studies.stats.summary import summarise

        paths = summarise(results).paths
        # What else is missing may never be needed.
        cells = [one for one in cells if one[2] is not None or one[1] in running]
    if as_json:
        states = [
            {
                "cell": record["cell"] if record else id_,
                "variant": cell.variant.name,
                "seed": cell.seed,
                "status": record["status"] if record else "running" if id_ in running else "missing",
            }
            | ({"reason": record["reason"]} if record and record["reason"] else {})
            for cell, id_, record in cells
        ]
        found = {"study": results.study.name, "budget": results.budget, "cells": states, "driver": driver, "live": live}
        found["claims"] = [{"claim": path.claim.says, "state": state_of(path)} for path in paths]
        print(json.dumps(found, indent=1))
        return

    rows = [
        (
            str(record["cell"] if record else id_ or ""),
            cell.label,
            describe(record) if record else _at(running[id_]) if id_ in running else "missing",
        )
        for cell, id_, record in cells
    ]
    console = Console(soft_wrap=True)
    console.print(_table(("cell", "variant and seed", "outcome"), rows))
    counts = (
        f"{len(results.records)} of {results.planned} cells of {results.study.name} ({results.budget}) have been run"
    )
    console.print(counts, markup=False, highlight=False)
    if paths:
        console.print(_table(("claim", "state"), [(path.claim.says, state_of(path)) for path in paths]))
    for line in [*_lines(driver, live), *results.notes]:
        console.print(line, markup=False, highlight=False)


def _watch(folder: Path) -> None:
    from rich.live import Live

    with Live(refresh_per_second=4, transient=True) as shown:
        while True:
            driver, live = read_live(folder)
            if driver is None:
                return
            shown.update(_page(driver, live))
            time.sleep(_REFRESH_SECONDS)


def _page(driver: dict[str, Any], live: dict[str, Any] | None) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    lines = [Text(line) for line in _lines(driver, live)]
    if live is None:
        return Group(*lines)
    rows = [(f"worker {one['worker'] + 1}", _place(one), one["label"], _at(one)) for one in live["running"]]
    ended = [Text(f"{one['label']}: {one['outcome']}") for one in live["ended"][-10:]]
    return Group(*ended, _table(("", "process", "variant and seed", "step"), rows), *lines)


def _lines(driver: dict[str, Any] | None, live: dict[str, Any] | None) -> list[str]:
    if driver is None:
        return []
    since = f"run by process {driver['pid']} on {driver['host']} since {driver['since']}"
    if live is None:
        return [f"{since}: checking the design"]
    counts = ", ".join(f"{count} {status}" for status, count in sorted(live["counts"].items())) or "none finished"
    line = f"{live['study']}: {counts} of {live['cells']} cells; {live['resources']}"
    if live["steps_per_second"]:
        line += f"; {live['steps_per_second']:.2g} steps a second"
        line += f", {duration(live['seconds_left'])} left" if live["seconds_left"] is not None else ""
    return [since, line]


def _place(one: dict[str, Any]) -> str:
    return "starting" if one["pid"] is None else f"{one['pid']} on {one['host']}"


def _at(one: dict[str, Any]) -> str:
    loss = "" if one["loss"] is None else f", loss {one['loss']:.3f}"
    return f"step {one['step']} of {one['steps']}{loss}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> duration(80), duration(600), duration(9000)
    ('80 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    return table

"""Cells that a study takes from other records: from another study of its store, or from a file."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrlora.studies.record.archive import Archive
from lrlora.studies.record.outcomes import outcome_of_record
from lrlora.studies.record.predictions import save_columns
from lrlora.studies.record.run_record import Provenance, RunRecord
from lrlora.studies.record.versions import coordinates, coordinates_of
from lrlora.studies.spec.cells import Cell
from lrlora.studies.spec.identity import changes

if TYPE_CHECKING:
    import numpy as np

    from lrlora.studies.record.tracking import Tracker

_TAKEN = ("finished", "diverged")
"""Outcomes that follow from a cell's content. A lack of memory is one of the machine's."""


def take(
    tracker: Tracker,
    cell: Cell,
    record: RunRecord,
    source: Mapping[str, str | None],
    examples: Mapping[str, np.ndarray] | None = None,
) -> RunRecord:
    """Record a cell as another run measured it.

    Args:
        tracker: Of the study that takes it.
        cell: With the id that the record has.
        record: Of the other run.
        source: The fields of the record that say where it was taken from.
        examples: The results of every test example by name, where the other run is not in the study's store.
    """
    run = tracker.start_cell(cell, (record.provenance or Provenance()).as_environment())
    names = {"study": cell.study, "variant": cell.variant.name, "axes": cell.variant.axes}
    record = record.model_copy(update={**names, **source, "mlflow_run_id": run.run_id})
    with tempfile.TemporaryDirectory(prefix="lrlora-") as files:
        if examples:
            save_columns(Path(files), examples)
        run.finish(record.plain(), outcome_of_record(record.plain()), Path(files))
    return record


def take_from_file(tracker: Tracker, cell: Cell, archive: Archive) -> RunRecord:
    """Record a cell as a file has it, the results of its test examples included.

    Args:
        tracker: Of the study that takes it.
        cell: One of those that :func:`match` found.
        archive: The file's content.
    """
    record = archive.records[cell.id]
    source = {"reused_from": None, "taken_from": record.taken_from or record.reused_from or record.mlflow_run_id}
    return take(tracker, cell, record, source, archive.examples.get(cell.id))


def take_from_files(
    tracker: Tracker, cells: Sequence[Cell], files: Mapping[Path, Archive]
) -> tuple[list[tuple[Cell, RunRecord]], list[str]]:
    """Record the cells that files hold.

    Args:
        tracker: Of the study that takes them.
        cells: Those that are missing.
        files: What each file holds; the first that has a cell gives it.

    Returns:
        The cells that were taken with their records, and a line for each file.
    """
    taken: list[tuple[Cell, RunRecord]] = []
    said, missing = [], {cell.id: cell for cell in cells}
    for file, archive in files.items():
        if missing:
            found, line = match(list(missing.values()), archive)
            said.append(f"{file}: {line}")
            taken += [(missing.pop(cell.id), take_from_file(tracker, cell, archive)) for cell in found]
    return taken, said


def match(cells: Sequence[Cell], archive: Archive) -> tuple[list[Cell], str]:
    """Find the cells whose results a file holds.

    Args:
        cells: Those that are missing.
        archive: The file's content.

    Returns:
        The cells that can be taken; and what is taken and why the others are not, in one line.
    """
    records = {cell: record.plain() for cell, record in archive.records.items()}
    by_settings = {record.parts.get("settings"): record for record in archive.records.values()}
    by_place = {coordinates(records[cell]): record for cell, record in archive.records.items()}
    found, reasons = [], Counter[str]()
    for cell in cells:
        same = archive.records.get(cell.id)
        other = same or by_settings.get(cell.key) or by_place.get(coordinates_of(cell))
        if other is None:
            reasons["not in it"] += 1
        elif not other.parts:
            reasons["recorded by lrlora 0.1.0, without what its content was"] += 1
        elif other is not same or other.parts != cell.parts:
            named = changes(other.parts, cell.parts)
            more = f" and {len(named) - 3} more" if len(named) > 3 else ""
            reasons[f"{', '.join(named[:3])}{more} changed"] += 1
        elif other.status not in _TAKEN:
            reasons[f"{outcome_of_record(records[cell.id])} there"] += 1
        else:
            found.append(cell)
    said = [f"{len(found)} of {len(cells)} cells are taken from it"]
    said += [f"{count} {'is' if count == 1 else 'are'} not: {reason}" for reason, count in reasons.items()]
    return found, "; ".join(said)

"""Earlier versions of cells: records of the same settings whose data, code or environment were others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lrlora.studies.spec.cells import Cell
from lrlora.studies.spec.identity import changes, missing_parts

Coordinates = tuple[str, int, str, str]
"""Variant, seed, task and backbone: where a cell is in a design."""


def coordinates(record: Mapping[str, Any]) -> Coordinates:
    """Of a record."""
    task = record["task"]
    name, options = (task, {}) if isinstance(task, str) else (task["name"], task.get("options") or {})
    return record["variant"], record["seed"], _named(name, options), record["backbone"]


def coordinates_of(cell: Cell) -> Coordinates:
    """Of a cell."""
    return cell.variant.name, cell.seed, _named(cell.task["name"], cell.task["options"]), cell.backbone


def _named(task: str, options: Mapping[str, Any]) -> str:
    return f"{task}({', '.join(f'{key}={options[key]!r}' for key in sorted(options))})" if options else task


def earlier_versions(
    cells: Sequence[Cell], records: Mapping[str, Mapping[str, Any]]
) -> list[tuple[Cell, Mapping[str, Any]]]:
    """The cells without a record that have one of an earlier version, with the newest of those.

    Args:
        cells: Of the design.
        records: All that are recorded, by id, the newest last.
    """
    by_settings = {parts["settings"]: record for record in records.values() if (parts := parts_of_record(record))}
    # Where data or weights are not here, nobody can tell whether they changed.
    known = [cell for cell in cells if cell.key in by_settings and not missing_parts(cell.parts)]
    return [(cell, by_settings[cell.key]) for cell in known if cell.id not in records]


def describe_earlier(
    cells: Sequence[Cell], records: Mapping[str, Mapping[str, Any]], consequence: Literal["run", "report"] = "run"
) -> list[str]:
    """What changed since cells were run, one line for each set of changes; nothing where nothing did.

    Args:
        cells: Of the design.
        records: All that are recorded, by id.
        consequence: Say that they will run again, or that they are left out.
    """
    differences = [changes(parts_of_record(record), cell.parts) for cell, record in earlier_versions(cells, records)]
    return told(differences, consequence)


def told(differences: Sequence[Sequence[str]], consequence: Literal["run", "report"]) -> list[str]:
    """A sentence for each set of changes, with the number of cells.

    >>> told([["kernel of my_bump (my_basis.py)"], ["kernel of my_bump (my_basis.py)"]], "run")
    ['kernel of my_bump (my_basis.py) changed since 2 cells ran: they will run again (--keep-old shows them)']
    """
    counts: dict[str, int] = {}
    for one in differences:
        named = ", ".join(one[:3]) + (f" and {len(one) - 3} more" if len(one) > 3 else "")
        counts[named] = counts.get(named, 0) + 1
    said = []
    for named, count in counts.items():
        they = ("it", "was") if count == 1 else ("they", "were")
        outcome = f"{they[0]} will run again" if consequence == "run" else f"{they[0]} {they[1]} left out"
        cells = f"{count} cell{'s' * (count != 1)} ran"
        said.append(f"{named} changed since {cells}: {outcome} (--keep-old shows {'it' if count == 1 else 'them'})")
    return said


def parts_of_record(record: Mapping[str, Any]) -> dict[str, str]:
    """The parts of a record's identity; none in records of lrlora 0.1.0."""
    return (record.get("provenance") or {}).get("parts") or {}

"""The record of a study: what its report is built from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock

from lrlora.studies.errors import StudyError
from lrlora.studies.record.archive import Archive
from lrlora.studies.record.environment import missing_plugins
from lrlora.studies.record.provenance import environment_of, provenance_differences
from lrlora.studies.record.run_record import left_out
from lrlora.studies.record.sequential import Sequential
from lrlora.studies.record.store import DATABASE, PLACE_FILE, NothingRecordedError
from lrlora.studies.record.versions import Coordinates, coordinates, coordinates_of, parts_of_record, told
from lrlora.studies.spec.cells import Cell, expand_cells
from lrlora.studies.spec.claims import claims_about
from lrlora.studies.spec.identity import changes
from lrlora.studies.spec.study import Study

if TYPE_CHECKING:
    from rich.console import Console

    from lrlora.studies.record.tracking import Tracker

STUDY_FILE = "study.json"


@dataclass
class Results:
    """A study and the records of its cells, those that have ended.

    Attributes:
        study: As it was run.
        budget: That it was run at.
        records: Plain data, see :class:`lrlora.studies.record.run_record.RunRecord`.
        out: Its folder, or the file of records that it was read from.
        planned: Number of cells of the design.
        environment: In which the records were made.
        given_as: How to have the study again.
        notes: What differs between the records that should not, and what was left out.
        sequential: Of a study that goes on until its claims are decided: its seeds, and how far it is.
        source: Where the records were read; None if there are none.
    """

    study: Study
    budget: str
    records: list[dict[str, Any]]
    out: Path
    planned: int
    environment: dict[str, Any] = field(default_factory=dict)
    given_as: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sequential: Sequential | None = None
    source: Tracker | Archive | None = field(default=None, repr=False)

    @classmethod
    def load(
        cls,
        out: str | Path,
        tracking_uri: str | None = None,
        keep_old: bool = False,
        tracker: Tracker | None = None,
    ) -> Results:
        """Read the record of a study. Neither its data nor its backbone need to be there.

        Args:
            out: Its folder, or a file of its records, see :mod:`lrlora.studies.record.archive`.
            tracking_uri: The address of its store, where that needs a password.
            keep_old: Take the records of earlier versions in place of the current ones, where there are any.
            tracker: The driver's, which waits for a server that is away; by default one that does not.

        Raises:
            StudyError: There is no study, or one with plugins that are not here; it says which.
        """
        out = Path(out)
        source: Tracker | Archive | None = Archive.read(out) if out.is_file() else tracker
        saved = source.study if isinstance(source, Archive) else read_study_file(out)
        if saved is None:
            raise StudyError(f"{out}: no study was run here (no {STUDY_FILE})")
        study = Study.from_dict(saved["study"], where=str(out / STUDY_FILE))
        try:
            cells = expand_cells(study)
        except ValueError:
            if missing := missing_plugins(saved.get("environment", {})):
                raise StudyError(
                    f"{out}: was run with {'; '.join(missing)}: not known here. Install it, or give --plugin"
                ) from None
            raise
        # An override may have taken variants away that a claim is about: it is not this study's claim then.
        claims = claims_about(study.claims, (cell.variant.name for cell in cells), study.reference)
        study = study.model_copy(update={"claims": claims})
        if source is None and is_recorded(out):
            source = _reading(out, study.name, tracking_uri)
        recorded = {} if source is None else source.read_results()
        records, earlier = _chosen(cells, recorded, saved.get("cells"))
        notes = told(earlier.differences, "report")
        if keep_old:
            records = [earlier.records.get(coordinates(record), record) for record in records]
            records += [old for place, old in earlier.records.items() if place not in set(map(coordinates, records))]
            notes = [f"{len(earlier.records)} of the records are of an earlier version of their cell (--keep-old)."]
        sequential = Sequential.of(saved, out) if isinstance(source, Archive) else Sequential.read(out)
        return cls(
            study=study,
            budget=saved["budget"],
            records=records,
            out=out,
            # What is planned is what the claims need, which depends on the results.
            planned=len(cells) if sequential is None else len(records),
            environment=environment_of(records, saved.get("environment", {})),
            given_as=saved.get("given_as", {}),
            notes=[
                *([sequential.note] if sequential is not None else []),
                *notes,
                *left_out(records),
                *provenance_differences(records),
            ],
            sequential=sequential,
            source=source,
        )

    @cached_property
    def examples(self) -> dict[str, dict[str, Any]]:
        """By the record's ``mlflow_run_id``, the results of every test example, of the runs that kept them.

        They are read when they are first asked for. See :mod:`lrlora.studies.record.predictions`.
        """
        return {} if self.source is None else self.source.read_examples(self.records)

    @property
    def complete(self) -> bool:
        """Whether every planned cell has been run, finished or not."""
        return len(self.records) == self.planned

    def report(self, folder: Path | None = None) -> Path:
        """Write the report and return its folder; the page is index.html in it.

        Args:
            folder: By default ``report`` in the study's folder, and for ``NAME.records`` ``NAME-report`` beside it.

        Raises:
            StudyError: If the folder that was given cannot be written.
        """
        from lrlora.studies.report.writing import write_report

        if self.out.is_file():
            folder = folder or self.out.with_name(f"{self.out.stem}-report")
        if folder is not None:
            try:
                return write_report(self, folder)
            except OSError as error:
                raise StudyError(f"{folder}: cannot be written: {error.strerror or error}") from None
        # One at a time: two processes that share a study end at about the same moment.
        with FileLock(self.out / ".report.lock"):
            return write_report(self)

    def print_summary(self, console: Console) -> None:
        """Show the comparison on a terminal."""
        from lrlora.studies.report.terminal import print_summary

        print_summary(self, console)


@dataclass
class _Earlier:
    """Records that are not of the current version of their cell."""

    records: dict[Coordinates, dict[str, Any]] = field(default_factory=dict)
    differences: list[list[str]] = field(default_factory=list)


def _chosen(
    cells: Sequence[Cell], recorded: Mapping[str, dict[str, Any]], current: Sequence[Mapping[str, Any]] | None
) -> tuple[list[dict[str, Any]], _Earlier]:
    """The records of a study's cells in the order of the design, and those of earlier versions.

    Args:
        cells: Of the design.
        recorded: By id.
        current: The cells as the last command that ran them knew them; None in folders of lrlora 0.1.0, where the
            newest record of a cell counts.
    """
    newest = {coordinates(record): record for record in recorded.values()}
    if current is None:
        return [newest[place] for cell in cells if (place := coordinates_of(cell)) in newest], _Earlier()
    by_place = {coordinates(one): one for one in current}
    all_of: dict[Coordinates, list[dict[str, Any]]] = {}
    for one in recorded.values():
        all_of.setdefault(coordinates(one), []).append(one)
    chosen, earlier = [], _Earlier()
    for cell in cells:
        place = coordinates_of(cell)
        now = by_place.get(place)
        record = recorded.get(now["cell"]) if now is not None else None
        if record is not None:
            chosen.append(record | {"variant": cell.variant.name})
        of_old = [one for one in all_of.get(place, []) if one is not record]
        if of_old and now is not None:
            earlier.records[place] = of_old[-1]
            earlier.differences.append(changes(parts_of_record(of_old[-1]), now["parts"]))
    return chosen, earlier


def is_recorded(out: Path) -> bool:
    """Whether runs were recorded from a folder, in it or elsewhere."""
    return (out / PLACE_FILE).exists() or (out / DATABASE).exists()


def read_records(out: Path, study: str, tracking_uri: str | None = None) -> dict[str, dict[str, Any]]:
    """The record of every cell that has ended, by the cell's id, earlier versions of cells among them.

    Args:
        out: The folder; nothing is written to it.
        study: The study's name.
        tracking_uri: The address of its store, where that needs a password.

    Raises:
        StudyError: The store or a record cannot be read; one line.
    """
    tracker = _reading(out, study, tracking_uri)
    return {} if tracker is None else tracker.read_results()


def _reading(out: Path, study: str, tracking_uri: str | None) -> Tracker | None:
    """The store of a folder, opened to read; None if the first command was stopped before its first cell."""
    from lrlora.studies.record.tracking import Tracker

    try:
        return Tracker.open(out, study, tracking_uri=tracking_uri, make=False)
    except NothingRecordedError:
        return None


def read_study_file(out: Path) -> dict[str, Any] | None:
    """What study.json holds, or None where there is none.

    Raises:
        StudyError: It is not readable.
    """
    path = out / STUDY_FILE
    try:
        return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise StudyError(f"{out}: is a file; the folder of a study is wanted") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: cannot be read: {error}") from None


def why_not_resumed(out: Path, saved: Mapping[str, Any]) -> str | None:
    """Why the study of a folder can be reported and not gone on with, in a sentence; None where it can.

    Args:
        out: The folder.
        saved: Its study.json.
    """
    if "lrlora" in saved:
        return None
    ran = (saved.get("environment") or {}).get("packages", {}).get("lrlora", "0.1.0")
    return (
        f"{out}: was run by lrlora {ran}, whose records do not say which code and data made them: "
        f"it can be reported with: lrlora study report {out}; to run the study, give another --out"
    )


def write_study_file(
    out: Path, study: Study, budget: str, environment: dict[str, Any], cells: Sequence[Cell] | None = None
) -> None:
    """Write study.json, whole or not at all.

    Args:
        out: The folder.
        study: Resolved.
        budget: What it was resolved for.
        environment: Of this command.
        cells: Those that the command is about to run; their ids say which records are current. None keeps what the
            file says already.
    """
    before = read_study_file(out) if cells is None else None
    content: dict[str, Any] = {
        "lrlora": version("lrlora"),
        "study": study.model_dump(mode="json"),
        "budget": budget,
        "given_as": study.given_as,
        "environment": environment,
        "cells": (before or {}).get("cells", []) if cells is None else [_identified(cell) for cell in cells],
    }
    partial = out / f".{STUDY_FILE}.partial"
    partial.write_text(json.dumps(content, indent=1, default=str), encoding="utf-8")
    partial.replace(out / STUDY_FILE)


def _identified(cell: Cell) -> dict[str, Any]:
    place = {"variant": cell.variant.name, "seed": cell.seed, "task": cell.task, "backbone": cell.backbone}
    return {"cell": cell.id, **place, "parts": cell.parts}

"""The record of a study: what its report is built from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock

from lrlora.studies.errors import StudyError
from lrlora.studies.record.environment import missing_plugins
from lrlora.studies.spec.cells import expand_cells
from lrlora.studies.spec.study import Study

if TYPE_CHECKING:
    from rich.console import Console

STUDY_FILE = "study.json"


@dataclass
class Results:
    """A study and the records of its cells, those that have ended."""

    study: Study
    budget: str
    records: list[dict[str, Any]]
    out: Path
    planned: int
    environment: dict[str, Any] = field(default_factory=dict)
    given_as: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, out: str | Path) -> Results:
        """Read the record of a study from its folder.

        Raises:
            StudyError: There is no study in that folder, or one with plugins that are not here; it says which.
        """
        out = Path(out)
        saved = read_study_file(out)
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
        names = [cell.variant.name for cell in cells]
        claims = [claim for claim in study.claims if claim.is_about(names, study.reference)]
        study = study.model_copy(update={"claims": claims})
        records = read_records(out, study.name) if (out / "mlflow.db").exists() else {}
        return cls(
            study=study,
            budget=saved["budget"],
            records=[records[cell.id] | {"variant": cell.variant.name} for cell in cells if cell.id in records],
            out=out,
            planned=len(cells),
            environment=saved.get("environment", {}),
            given_as=saved.get("given_as", {}),
        )

    @property
    def complete(self) -> bool:
        """Whether every planned cell has ended, with whatever outcome."""
        return len(self.records) == self.planned

    def report(self) -> Path:
        """Write the report and return its folder; the page is index.html in it."""
        from lrlora.studies.report import write_report

        # One at a time: two processes that share a study end at about the same moment.
        with FileLock(self.out / ".report.lock"):
            return write_report(self)

    def print_summary(self, console: Console) -> None:
        """Show the comparison on a terminal."""
        from lrlora.studies.report import print_summary

        print_summary(self, console)


def read_records(out: Path, study: str) -> dict[str, dict[str, Any]]:
    """The record of every cell that has ended, by the cell's id."""
    from lrlora.studies.record.tracking import Tracker, outcome_of

    tracker = Tracker.open(out, study)
    found = {cell: tracker.read_result(run) for cell, run in tracker.cell_runs().items() if outcome_of(run) is not None}
    return {cell: record for cell, record in found.items() if record is not None}


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
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: cannot be read: {error}") from None


def write_study_file(out: Path, study: Study, budget: str, environment: dict[str, Any]) -> None:
    """Write study.json, whole or not at all."""
    content = {
        "study": study.model_dump(mode="json"),
        "budget": budget,
        "given_as": study.given_as,
        "environment": environment,
    }
    partial = out / f".{STUDY_FILE}.partial"
    partial.write_text(json.dumps(content, indent=1, default=str), encoding="utf-8")
    partial.replace(out / STUDY_FILE)

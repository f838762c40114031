"""The record of a study in MLflow: one parent run, and below it one run per cell, found by the cell's id."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lrlora.studies.errors import StudyError
from lrlora.studies.record.addresses import artifacts_in, chosen_address, is_served, masked, path_of, public
from lrlora.studies.record.cell_run import FILES, OUTCOME, RESULT_FILE, CellRun
from lrlora.studies.record.outcomes import FINAL
from lrlora.studies.record.patience import Patience, PatientClient, patiently
from lrlora.studies.record.run_record import Provenance, RunRecord
from lrlora.studies.record.store import NothingRecordedError, Place, address_of, one_line, open_client
from lrlora.studies.spec.cells import Cell
from lrlora.studies.spec.identity import missing_parts

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import Run

CELL, SETTINGS, STUDY = "lrlora.cell", "lrlora.settings", "lrlora.study"
_PARENT = "mlflow.parentRunId"
_CELLS_SEARCHED = 20
"""So many cells are searched for one by one."""
_LONGEST_VALUE = 500
"""Characters of a parameter or a tag that every MLflow store takes."""


@dataclass
class Tracker:
    """The runs of one study in one store.

    Attributes:
        out: The study's folder.
        client: Of the store.
        experiment: MLflow's id.
        parent: The study's run, which those of its cells are below.
        address: Of a store outside of the folder.
    """

    out: Path
    client: MlflowClient
    experiment: str
    parent: str
    address: str | None = None
    _begun: dict[str, list[str]] = field(default_factory=dict)
    """The runs of each cell, read once: nobody else writes below this parent, and a search reads all tags."""
    _seen: dict[str, Run] = field(default_factory=dict)
    """Runs by their id, as they were last read. Where the files of a run are does not change."""
    _locations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(
        cls, out: Path, study: str, description: str = "", tracking_uri: str | None = None, make: bool = True
    ) -> Tracker:
        """Find the study's parent run, or make it. The caller holds the study's setup lock.

        Args:
            out: The study's folder.
            study: Its name.
            description: For MLflow's pages.
            tracking_uri: The address of a store outside of the folder, or ``"env"`` for the shell's
                ``MLFLOW_TRACKING_URI``. By default the store that the folder's runs are in, or a new one in the folder.
            make: Make what is missing, and wait later on for a server that is away; False to read only.

        Raises:
            StudyError: The store cannot be used, or holds no runs of the study where some are expected; one line.
        """
        place = Place.read(out)
        address = address_of(out, chosen_address(tracking_uri), place)
        client = open_client(out, address, make)
        store = masked(address) if address else str(out / "mlflow.db")
        with one_line(store):
            if place is not None:
                _check_is_there(client, place, store)
                return cls(out, _patient(client, address, make), place.experiment, place.parent, address)
            experiment = _experiment(client, out, study, address, make)
            found = None if address else _parent_of_old(client, experiment, study)
            if found is None and not make:
                raise NothingRecordedError(f"{store}: holds no runs of study {study}")
            if found is None:
                tags = {STUDY: study, "mlflow.note.content": description}
                found = client.create_run(experiment, run_name=f"study {study}", tags=tags).info.run_id
        if make:
            Place(public(address) if address else None, experiment, found).write(out)
        return cls(out, _patient(client, address, make), experiment, found, address)

    def check_place(self) -> None:
        """See that the folder is where the study began: MLflow would write artifacts there, and nowhere else.

        Raises:
            StudyError: It was moved or copied. Its record can be read all the same.
        """
        here = artifacts_in(self.out)
        there = self.client.get_experiment(self.experiment).artifact_location
        if there != here and self.address is None:
            raise StudyError(
                f"--out {self.out}: was moved here from {path_of(there).parent}; it can be reported, but to go on "
                "running it move it back, or begin in another folder"
            )

    def read_result(self, run: Run) -> dict[str, Any] | None:
        """The record that a run left, as plain data; None where it has none. See :meth:`read_record`."""
        record = self.read_record(run)
        return None if record is None else record.plain()

    def read_record(self, run: Run) -> RunRecord | None:
        """The record that a run left, or None where it left none.

        Raises:
            StudyError: The run ended, and its record is not there or no record.
        """
        where = f"{masked(self.address or str(self.out))}: run {run.info.run_id}"
        found = self._artifact(run, RESULT_FILE)
        if isinstance(found, bytes):
            return RunRecord.read(found.decode("utf-8", "replace"), where)
        if outcome_of(run) not in FINAL:
            return None
        raise StudyError(f"{where}: its {RESULT_FILE} cannot be read ({type(found).__name__})")

    def read_results(self) -> dict[str, dict[str, Any]]:
        """The record of every cell that has ended, by the cell's id, earlier versions of cells among them."""
        ended = {cell: run for cell, run in self.cell_runs().items() if outcome_of(run) is not None}
        found = {cell: self.read_result(run) for cell, run in ended.items()}
        return {cell: record for cell, record in found.items() if record is not None}

    def read_examples(self, records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """The results of every test example of the runs that kept them, by ``mlflow_run_id``.

        A record that was taken from another run names it in ``reused_from``, and the results are there.
        """
        kept = [one for one in records if one.get("predictions") and one.get("mlflow_run_id")]
        runs = {str(one["mlflow_run_id"]): str(one.get("reused_from") or one["mlflow_run_id"]) for one in kept}
        found = {run: self.read_predictions(source) for run, source in runs.items()}
        return {run: arrays for run, arrays in found.items() if arrays}

    def read_predictions(self, run_id: str) -> dict[str, np.ndarray]:
        """The results of every test example of a run, by name; empty if they were not kept, or cannot be read."""
        from lrlora.studies.record.predictions import FILE, load_predictions

        run = self._seen.get(run_id) or self.client.get_run(run_id)
        found = self._artifact(run, f"{FILES}/{FILE}")
        if not isinstance(found, bytes):
            return {}
        try:
            return load_predictions(io.BytesIO(found))
        except (ValueError, OSError, zipfile.BadZipFile):
            return {}

    def _artifact(self, run: Run, path: str) -> bytes | Exception:
        """The content of a run's file, or why there is none."""
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
        from mlflow.utils.file_utils import local_file_uri_to_path

        try:
            if (uri := self._artifacts_of(run)).startswith("file:"):  # which MLflow would copy first
                return Path(local_file_uri_to_path(uri), path).read_bytes()
            download = get_artifact_repository(uri, tracking_uri=self.client.tracking_uri).download_artifacts
            with tempfile.TemporaryDirectory(prefix="lrlora-") as folder:
                return Path(patiently(self.client, download, path, folder)).read_bytes()
        except (MlflowException, OSError) as error:
            return error

    def cell_runs(self) -> dict[str, Run]:
        """The newest run of each cell, by the cell's id; earlier versions of a cell are under ids of their own."""
        wanted = f"tags.`{CELL}` != '' AND tags.`{_PARENT}` = '{self.parent}'"
        newest: dict[str, Run] = {}
        self._begun = {}
        for run in self._search([self.experiment], wanted):
            self._begun.setdefault(run.data.tags[CELL], []).append(run.info.run_id)
            newest[run.data.tags[CELL]] = self._seen[run.info.run_id] = run
        return newest

    def find_finished(self, cells: Collection[str]) -> dict[str, Run]:
        """The newest finished run of each cell in the whole store, whichever study ran it.

        Args:
            cells: Ids.

        Returns:
            By id; cells that no study of the store has finished are left out.
        """
        with one_line(self.address or str(self.out)):
            experiments = [one.experiment_id for one in _pages(self.client.search_experiments)]
            finished = f"tags.`{OUTCOME}` = 'finished' AND attributes.status = 'FINISHED'"
            # A search for one cell reads the tags of all: for many cells, one search for all finished runs is less.
            few = [f"tags.`{CELL}` = '{cell}' AND {finished}" for cell in cells]
            searches = few if len(cells) <= _CELLS_SEARCHED else [f"tags.`{CELL}` != '' AND {finished}"]
            found: dict[str, Run] = {}
            for wanted in searches:
                found |= {run.data.tags[CELL]: run for run in self._search(experiments, wanted)}
        return {cell: run for cell, run in found.items() if cell in cells}

    def start_cell(self, cell: Cell, environment: Mapping[str, Any]) -> CellRun:
        """A fresh run for a cell whose lock the caller holds.

        What an earlier attempt left is moved to MLflow's deleted runs: logging on in it would repeat its steps.

        Raises:
            StudyError: The data or the weights of the cell are not here, so that its id says nothing of them.
        """
        if missing := missing_parts(cell.parts):
            raise StudyError(f"{cell.label}: {' and '.join(missing)} cannot be read")
        provenance = Provenance.of(environment, cell.parts)
        tags = {
            CELL: cell.id,
            SETTINGS: cell.key,
            _PARENT: self.parent,
            "lrlora.variant": cell.variant.name,
            "lrlora.seed": str(cell.seed),
            "mlflow.source.name": "lrlora",
            "mlflow.source.git.commit": provenance.commit or "unknown",
            "lrlora.git.dirty": str(provenance.dirty),
            **{f"lrlora.version.{name}": found for name, found in provenance.versions.items()},
        }
        tags = {name: _shortened(value) for name, value in tags.items()}
        run = self.client.create_run(self.experiment, run_name=_shortened(cell.label), tags=tags)
        for stale in self._others_of(cell.id, run.info.run_id):
            self.client.delete_run(stale)
        parameters = {
            "variant": cell.variant.name,
            "seed": cell.seed,
            "task": cell.task["name"],
            "backbone": cell.backbone,
            **cell.variant.config,
            **{f"task.{key}": value for key, value in cell.task["options"].items()},
            **{f"training.{key}": value for key, value in cell.variant.training.resolved().items()},
        }
        self._begun[cell.id] = [run.info.run_id]
        self._log_parameters(run.info.run_id, parameters)
        return CellRun(self.client, run.info.run_id, provenance)

    def _others_of(self, cell: str, current: str) -> list[str]:
        """The runs of a cell besides the current one. Those of a folder's own store are read once."""
        if self.address is not None:  # a call to a server that had to be repeated may have made two
            wanted = f"tags.`{CELL}` = '{cell}' AND tags.`{_PARENT}` = '{self.parent}'"
            found = [str(run.info.run_id) for run in self._search([self.experiment], wanted)]
        else:
            if not self._begun:
                self.cell_runs()
            found = self._begun.get(cell, [])
        return [run for run in found if run != current]

    def reuse(self, cell: Cell, found: Run) -> RunRecord:
        """Take the record of a cell from a run of another study, as a run of this one.

        Args:
            cell: With the id that the run has.
            found: From :meth:`find_finished`.

        Raises:
            StudyError: The run's record cannot be read.
        """
        from lrlora.studies.record.taken import take

        if (record := self.read_record(found)) is None:
            raise StudyError(f"run {found.info.run_id}: has no {RESULT_FILE}")
        return take(self, cell, record, {"reused_from": record.reused_from or found.info.run_id})

    def close_stale(self, run: Run) -> None:
        """Mark the run of a process that died as killed."""
        if run.info.status == "RUNNING":
            self.client.set_terminated(run.info.run_id, "KILLED")

    def finish_study(self, summary: Mapping[str, float], complete: bool) -> None:
        """Write how far the study is into its parent run, and end that if nothing is missing."""
        now = int(time.time() * 1000)
        from mlflow.entities import Metric

        self.client.log_batch(self.parent, metrics=[Metric(key, value, now, 0) for key, value in summary.items()])
        self.client.update_run(self.parent, status="FINISHED" if complete else "RUNNING")

    def _search(self, experiments: list[str], wanted: str) -> Iterator[Run]:
        asked = {"experiment_ids": experiments, "filter_string": wanted, "order_by": ["start_time ASC"]}
        return _pages(self.client.search_runs, **asked)

    def _artifacts_of(self, run: Run) -> str:
        """Where a run's artifacts are; those of a folder's own store are below it, wherever it was moved to."""
        uri = str(run.info.artifact_uri)
        experiment = run.info.experiment_id
        if experiment not in self._locations:
            self._locations[experiment] = str(self.client.get_experiment(experiment).artifact_location)
        begun = self._locations[experiment]
        if self.address is None and uri.startswith(f"{begun}/"):
            return artifacts_in(self.out) + uri.removeprefix(begun)
        return uri

    def _log_parameters(self, run_id: str, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        written = [
            Param(key, _shortened(value if isinstance(value, str) else json.dumps(value)))
            for key, value in parameters.items()
        ]
        for start in range(0, len(written), 100):  # which is what MLflow takes at a time
            self.client.log_batch(run_id, params=written[start : start + 100])


def _patient(client: MlflowClient, address: str | None, make: bool) -> MlflowClient:
    """A client of a server that waits for it, where a study is run."""
    if address is None or not is_served(address) or not make:
        return client
    return cast("MlflowClient", PatientClient(client, Patience(address)))


def outcome_of(run: Run | None) -> str | None:
    """How a cell's run ended, or None while it has not, or where its driver died before the last word of it."""
    return run.data.tags.get(OUTCOME) if run is not None and run.info.status in ("FINISHED", "FAILED") else None


def _experiment(client: MlflowClient, out: Path, study: str, address: str | None, make: bool) -> str:
    """The experiment of a study in a store, which is made if need be."""
    served = address is not None and address.startswith(("http:", "https:", "databricks"))
    location = None if served else artifacts_in(out)
    known = client.get_experiment_by_name(study)
    if known is not None and address is not None and not served and known.artifact_location != location:
        # Without a server that keeps artifacts, each folder keeps its own.
        study = f"{study}-{hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:6]}"
        known = client.get_experiment_by_name(study)
    if known is not None and known.lifecycle_stage != "active":
        raise StudyError(
            f"experiment {study} was deleted; restore it with: mlflow experiments restore -x {known.experiment_id}"
        )
    if known is not None:
        return str(known.experiment_id)
    if not make:
        raise NothingRecordedError(f"{public(address) if address else out}: holds no runs of study {study}")
    return str(client.create_experiment(study, artifact_location=location))


def _parent_of_old(client: MlflowClient, experiment: str, study: str) -> str | None:
    """The parent run in a folder of lrlora 0.1.0, or in one whose making was interrupted."""
    parents = client.search_runs([experiment], f"tags.`{STUDY}` = '{study}'", max_results=1)
    return str(parents[0].info.run_id) if parents else None


def _check_is_there(client: MlflowClient, place: Place, store: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(place.parent)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise StudyError(
            f"{public(store)}: does not hold the runs of this folder any more; "
            "put the store back, or give another --out"
        ) from None


def _pages(search: Any, **arguments: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(**arguments, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _shortened(value: str) -> str:
    if len(value) <= _LONGEST_VALUE:
        return value
    pointer = f"… ({len(value)} characters, whole in {RESULT_FILE})"
    return value[: _LONGEST_VALUE - len(pointer)] + pointer

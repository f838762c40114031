"""The record of a study in MLflow: one parent run, and below it one run per cell, found by the cell's hash."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.cells import Cell

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

CELL, STUDY, OUTCOME = "lrlora.cell", "lrlora.study", "lrlora.outcome"
RESULT_FILE = "result.json"
_FLUSH_SECONDS = 5.0


def database_uri(out: Path) -> str:
    """The address of a study's MLflow store."""
    return f"sqlite:///{out.resolve() / 'mlflow.db'}"


def open_client(out: Path) -> MlflowClient:
    """A client of the study's own store, whatever MLflow is set up to elsewhere; the store is made if need be.

    Two processes must not make the store at once: the caller holds the study's setup lock the first time.
    """
    # A study's record stays where it is: no usage events to anyone.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    # Importing MLflow sets it up to tell of every table that it makes.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=database_uri(out), registry_uri=database_uri(out))


@dataclass
class Tracker:
    """The runs of one study in one store."""

    out: Path
    client: MlflowClient
    experiment: str
    parent: str

    @classmethod
    def open(cls, out: Path, study: str, description: str = "") -> Tracker:
        """Find the study's parent run, or make it. The caller holds the study's setup lock."""
        client = open_client(out)
        known = client.get_experiment_by_name(study)
        location = (out.resolve() / "artifacts").as_uri()
        experiment = known.experiment_id if known else client.create_experiment(study, artifact_location=location)
        parents = client.search_runs([experiment], f"tags.`{STUDY}` = '{study}'", max_results=1)
        if parents:
            return cls(out, client, experiment, parents[0].info.run_id)
        tags = {STUDY: study, "mlflow.note.content": description}
        parent = client.create_run(experiment, run_name=f"study {study}", tags=tags)
        return cls(out, client, experiment, parent.info.run_id)

    def check_place(self) -> None:
        """See that the folder is where the study began: MLflow would write artifacts there, and nowhere else.

        Raises:
            StudyError: It was moved or copied. Its record can be read all the same.
        """
        here = (self.out.resolve() / "artifacts").as_uri()
        there = self.client.get_experiment(self.experiment).artifact_location
        if there != here:
            raise StudyError(
                f"--out {self.out}: was moved here from {_path_of(there).parent}; it can be reported, but to go on "
                "running it move it back, or begin in another folder"
            )

    def read_result(self, run: Run) -> dict[str, Any] | None:
        """The record that a run left, or None. Found below the study's folder, wherever that was moved to."""
        try:
            path = self.out / "artifacts" / run.info.run_id / "artifacts" / RESULT_FILE
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def cell_runs(self) -> dict[str, Run]:
        """The newest run of each cell, by the cell's id."""
        runs: dict[str, Run] = {}
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                f"tags.`{CELL}` != ''",
                order_by=["start_time ASC"],
                max_results=1000,
                page_token=token,
            )
            runs |= {run.data.tags[CELL]: run for run in page}
            token = page.token
            if not token:
                return runs

    def start_cell(self, cell: Cell, environment: Mapping[str, Any]) -> CellRun:
        """A fresh run for a cell whose lock the caller holds.

        What an earlier attempt left is moved to MLflow's deleted runs: logging on in it would repeat its steps.
        """
        for stale in self.client.search_runs([self.experiment], f"tags.`{CELL}` = '{cell.id}'"):
            self.client.delete_run(stale.info.run_id)
        git = environment.get("git") or {}
        tags = {
            CELL: cell.id,
            "mlflow.parentRunId": self.parent,
            "lrlora.variant": cell.variant.name,
            "lrlora.seed": str(cell.seed),
            "mlflow.source.name": "lrlora",
            "mlflow.source.git.commit": git.get("commit") or "unknown",
            "lrlora.git.dirty": str(git.get("dirty")),
            **{f"lrlora.version.{name}": str(found) for name, found in environment.get("packages", {}).items()},
        }
        run = self.client.create_run(self.experiment, run_name=cell.label, tags=tags)
        parameters = {
            "variant": cell.variant.name,
            "seed": cell.seed,
            "task": cell.task["name"],
            "backbone": cell.backbone,
            **cell.variant.config,
            **{f"task.{key}": value for key, value in cell.task["options"].items()},
            **{f"training.{key}": value for key, value in cell.variant.training.resolved().items()},
        }
        self._log_parameters(run.info.run_id, parameters)
        return CellRun(self.client, run.info.run_id)

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

    def _log_parameters(self, run_id: str, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        written = [
            Param(key, value if isinstance(value, str) else json.dumps(value)) for key, value in parameters.items()
        ]
        self.client.log_batch(run_id, params=written)


class CellRun:
    """The run of one cell while it is running. Steps are written in batches: one by one they cost 17 ms each."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.run_id = run_id
        self._client = client
        self._pending: list[Any] = []
        self._flushed = time.monotonic()

    def log_step(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Note figures of a step; what is not finite is left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._pending += [Metric(key, value, now, step) for key, value in figures.items() if value is not None]
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()

    def finish(self, record: Mapping[str, Any], outcome: str, files: Path) -> None:
        """Write the final figures and the files, and then, last of all, that the cell is done.

        Args:
            record: The record; goes into result.json.
            outcome: What the run is tagged with, see :mod:`lrlora.studies.record.outcomes`.
            files: A folder that becomes the artifact ``adapter``, if anything is in it.
        """
        step = len(record["train_loss"])
        final = {f"{record.get('judged_on', 'test')}/{name}": value for name, value in record["metrics"].items()}
        final |= {f"parameters/{name}": float(count) for name, count in record["parameters"].items()}
        final |= {name: record[name] for name in ("step_seconds", "peak_memory_bytes", "duration_seconds")}
        for layer in record["layers"]:
            for name in ("stable_rank", "nonlinear_fraction"):
                if layer[name] is not None:  # which means that the method has no such thing
                    final[f"{name}/{layer['module']}"] = layer[name]
        self.log_step(step, final)
        self._flush()
        if any(files.iterdir()):
            self._client.log_artifacts(self.run_id, str(files), "adapter")
        self._client.log_text(self.run_id, json.dumps(record, indent=1, allow_nan=False), RESULT_FILE)
        self._client.set_tag(self.run_id, OUTCOME, outcome)
        self._client.set_terminated(self.run_id, "FAILED" if outcome == "failed" else "FINISHED")

    def kill(self) -> None:
        """Say that the run was interrupted."""
        self._client.set_terminated(self.run_id, "KILLED")

    def _flush(self) -> None:
        # MLflow takes a thousand metrics at a time.
        for start in range(0, len(self._pending), 1000):
            self._client.log_batch(self.run_id, metrics=self._pending[start : start + 1000])
        self._pending.clear()
        self._flushed = time.monotonic()


def outcome_of(run: Run | None) -> str | None:
    """How a cell's run ended, or None while it has not."""
    return run.data.tags.get(OUTCOME) if run is not None and run.info.status != "RUNNING" else None


def _path_of(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))

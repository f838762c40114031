"""The MLflow run of one cell while it is running."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrlora.studies.record.run_record import Provenance, RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

OUTCOME = "lrlora.outcome"
"""The tag of a run that has ended."""

RESULT_FILE = "result.json"
FILES = "adapter"
"""Where the other files of a run are."""

_FLUSH_SECONDS = 5.0


class CellRun:
    """The run of one cell while it is running. Steps are written in batches: one by one they cost 17 ms each."""

    def __init__(self, client: MlflowClient, run_id: str, provenance: Provenance) -> None:
        self.run_id = run_id
        self.provenance = provenance
        self._client = client
        self._pending: list[Any] = []
        self._flushed = time.monotonic()

    def log_step(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Log the metrics of a step; values that are not finite are left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._pending += [Metric(key, value, now, step) for key, value in figures.items() if value is not None]
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()

    def finish(self, record: Mapping[str, Any], outcome: str, files: Path) -> None:
        """Write the final metrics and the files, and then that the cell is done.

        Args:
            record: The fields of a :class:`RunRecord`; where it has no provenance, the run's own is added.
            outcome: What the run is tagged with, see :mod:`lrlora.studies.record.outcomes`.
            files: A folder that becomes the artifact ``adapter``, if anything is in it.
        """
        whole = RunRecord.model_validate(record)
        if whole.provenance is None:
            whole.provenance = self.provenance
        record, step = whole.plain(), len(whole.train_loss)
        final = {f"{whole.judged_on}/{name}": value for name, value in record["metrics"].items()}
        final |= {f"parameters/{name}": float(count) for name, count in record["parameters"].items()}
        final |= {name: record[name] for name in ("step_seconds", "peak_memory_bytes", "duration_seconds")}
        for layer in record["layers"]:
            for name in ("stable_rank", "nonlinear_fraction"):
                if layer[name] is not None:  # which means that the method has no such thing
                    final[f"{name}/{layer['module']}"] = layer[name]
        self.log_step(step, final)
        self._flush()
        if any(files.iterdir()):
            self._client.log_artifacts(self.run_id, str(files), FILES)
        self._client.log_text(self.run_id, whole.write(), RESULT_FILE)
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

"""A study on a Ray cluster, with PostgreSQL and an MLflow server, is the study that a laptop runs with files."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command
import fakes
import numpy as np
import optuna
import pytest
from ray.cluster_utils import Cluster
from servers import PASSWORD, Mlflow, Postgres, Server

from lrlora.studies.errors import StudyError
from lrlora.studies.execution import patient_storage
from lrlora.studies.record import patience
from lrlora.studies.record.results import Results
from lrlora.studies.record.store import open_client
from lrlora.studies.record.tracking import CELL

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]


class Served:
    """What the servers hold of one study, read by their own clients."""

    def __init__(self, study: str, out: Path, mlflow: Mlflow, postgres: Postgres) -> None:
        self.client = open_client(out, mlflow.url)
        experiment = self.client.get_experiment_by_name(study)
        assert experiment is not None
        runs = self.client.search_runs([experiment.experiment_id], f"tags.`{CELL}` != ''")
        place = json.loads((out / "tracking.json").read_text())
        self.runs = [run for run in runs if run.data.tags["mlflow.parentRunId"] == place["parent"]]
        names = [name for name in optuna.get_all_study_names(postgres.url) if name.startswith(f"{study}-")]
        studies = [optuna.load_study(study_name=name, storage=postgres.url) for name in names]
        self.trials = Counter(trial.state.name for study in studies for trial in study.trials)

    def check(self, cells: int, steps: list[int]) -> None:
        """Each cell has one finished run with each of its steps once, and one complete trial; nothing waits or runs."""
        assert Counter(run.info.status for run in self.runs) == {"FINISHED": cells}
        assert len({run.data.tags[CELL] for run in self.runs}) == cells
        for run in self.runs:
            history = self.client.get_metric_history(run.info.run_id, "train/loss")
            assert sorted(metric.step for metric in history) == steps
        assert self.trials["COMPLETE"] == cells
        assert self.trials["WAITING"] == self.trials["RUNNING"] == 0

    def artifact(self, run: Any, path: str, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(self.client.download_artifacts(run.info.run_id, path, str(folder)))


def numbers(records: list[dict[str, Any]]) -> dict[str, Any]:
    """By cell, what must not depend on where it ran."""
    return {one["cell"]: (one["variant"], one["metrics"], one["train_loss"], one["validation"]) for one in records}


def holding(folder: Path, secret: str) -> list[Path]:
    """The files that hold a text."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.usefixtures("known_content")
def test_the_record_is_that_of_the_files_of_a_folder(
    cluster: Cluster, postgres: Postgres, mlflow: Mlflow, store: Path, tmp_path: Path
) -> None:
    study = fakes.study(2, seeds=(1, 2), name="plain")
    with_files = fakes.drive(study, tmp_path / "files", store, fakes.training(tmp_path / "notes"))
    full = {"executor": "ray", "address": cluster.address, "storage": postgres.url, "tracking_uri": mlflow.url}
    out = tmp_path / "served"
    served = fakes.drive(study, out, store, fakes.training(tmp_path / "notes"), **full)
    assert numbers(served.records) == numbers(with_files.records)
    found = Served("plain", out, mlflow, postgres)
    found.check(4, [1, 2, 3])
    for run in found.runs:
        text = found.artifact(run, "adapter/adapter.txt", tmp_path / run.info.run_id).read_text()
        assert text == run.info.run_name
    assert not (out / "artifacts").exists()
    again = fakes.drive(study, out, store, fakes.training(tmp_path / "notes"), **full)
    assert again.complete
    assert set(fakes.notes_of(tmp_path / "notes").values()) == {2}, "once with files, once on the cluster"
    assert holding(out, PASSWORD) == holding(mlflow.folder / "artifacts", PASSWORD) == []


def restart(server: Server, notes: Path, cells: int, seconds: float) -> threading.Thread:
    """Take a server away for some seconds, once so many cells were begun."""

    def act() -> None:
        while not notes.exists() or len(list(notes.iterdir())) < cells:
            time.sleep(0.02)
        server.stop()
        time.sleep(seconds)
        server.start()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


@pytest.mark.usefixtures("known_content")
@pytest.mark.parametrize("away", ["postgres", "mlflow"])
def test_a_server_that_restarts_loses_no_cell_and_doubles_none(
    away: str, postgres: Postgres, mlflow: Mlflow, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    server: Server = {"postgres": postgres, "mlflow": mlflow}[away]
    thread = restart(server, notes, cells=2, seconds=8)
    study = fakes.study(4, seeds=(1, 2), name=f"without-{away}")
    where = {"storage": postgres.url, "tracking_uri": mlflow.url}
    try:
        results = fakes.drive(study, out, store, fakes.training(notes, seconds=0.1), **where)
    finally:
        thread.join()
    assert results.complete
    assert {record["status"] for record in results.records} == {"finished"}
    assert set(fakes.notes_of(notes).values()) == {1}
    Served(study.name, out, mlflow, postgres).check(8, [1, 2, 3])
    assert "does not answer; trying again" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.usefixtures("known_content")
def test_a_server_that_stays_away_ends_the_command_in_one_line_and_the_next_goes_on(
    postgres: Postgres, mlflow: Mlflow, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    impatient: Callable[[str], Any] = lambda url: patience.Patience(url, 2)  # noqa: E731
    monkeypatch.setattr(patient_storage, "Patience", impatient)
    study, where = fakes.study(4, name="left"), {"storage": postgres.url, "tracking_uri": mlflow.url}
    thread = restart(postgres, notes, cells=1, seconds=12)
    with pytest.raises(StudyError, match="did not answer for 2 s, run the same command again to go on") as refused:
        fakes.drive(study, out, store, fakes.training(notes, seconds=0.3), workers=1, **where)
    thread.join()
    assert PASSWORD not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert fakes.drive(study, out, store, fakes.training(notes), **where).complete
    Served("left", out, mlflow, postgres).check(4, [1, 2, 3])


DIGITS = """
name: digits
task: digits
backbone: digits-vit
base: {method: lrlora}
axes: {r: [1, 2]}
reference: r=1
seeds: [1]
training: {steps: 6, batch_size: 8, eval_every: 3, train_examples: 64, validation_examples: 32, test_examples: 48}
budgets: {smoke: {}}
"""


def test_a_vision_transformer_gives_the_same_bits_on_a_cluster_as_on_a_laptop(
    cluster: Cluster, postgres: Postgres, mlflow: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits.yaml").write_text(DIGITS)
    run = ("study", "run", "digits.yaml", "--budget", "smoke", "--out")
    plain = command.run(*run, "files", cwd=tmp_path)
    assert plain.status == 0, plain.output
    full = ("--executor", "ray", "--address", cluster.address, "--storage", postgres.url, "--tracking-uri", mlflow.url)
    served = command.run(*run, "served", *full, cwd=tmp_path)
    assert served.status == 0, served.output
    with_files = Results.load(tmp_path / "files")
    with_servers = Results.load(tmp_path / "served", mlflow.url)
    assert numbers(with_servers.records) == numbers(with_files.records)
    found = Served("digits", tmp_path / "served", mlflow, postgres)
    found.check(2, [1, 2, 3, 4, 5, 6])
    here = {record["cell"]: record["mlflow_run_id"] for record in with_files.records}
    for one in found.runs:
        there = found.artifact(one, "adapter/predictions.npz", tmp_path / one.info.run_id)
        ours = tmp_path / "files" / "artifacts" / here[one.data.tags[CELL]] / "artifacts" / "adapter"
        with np.load(there) as first, np.load(ours / "predictions.npz") as second:
            assert first.files == second.files
            assert all(np.array_equal(first[name], second[name]) for name in first.files)
        found.artifact(one, "result.json", tmp_path / one.info.run_id)

    reported = command.run("study", "report", "served", cwd=tmp_path)
    assert reported.status == 2, "without a password the server lets no one in"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.url)
    reported = command.run("study", "report", "served", cwd=tmp_path)
    assert reported.status == 0, reported.output
    assert (tmp_path / "served" / "report" / "index.html").exists()
    for said in (served.output, reported.output):
        assert PASSWORD not in said
    assert holding(tmp_path / "served", PASSWORD) == []
    assert [path.name for path in holding(mlflow.folder, PASSWORD)] == ["auth.ini"], "what the server itself was given"
    assert "s3cret" not in (postgres.folder / "log").read_text()

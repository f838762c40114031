"""A study on a Ray cluster, with PostgreSQL and an MLflow server, is the study that a laptop runs with files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
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
import psutil
import pytest
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from servers import PASSWORD, Mlflow, Postgres, Server, free_port, is_loopback, listening, listens
from sqlalchemy.pool import NullPool

from lrlora.studies.errors import StudyError
from lrlora.studies.execution import patient_storage
from lrlora.studies.execution.live import STATUS_FILE
from lrlora.studies.execution.progress import StudyProgress
from lrlora.studies.record import patience
from lrlora.studies.record.results import Results
from lrlora.studies.record.store import open_client
from lrlora.studies.record.tracking import CELL

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1200)]


class Served:
    """What the servers hold of one study, read by their own clients."""

    def __init__(self, study: str, out: Path, mlflow: Mlflow, postgres: Postgres) -> None:
        self.client = open_client(out, mlflow.url)
        experiment = self.client.get_experiment_by_name(study)
        assert experiment is not None
        runs = self.client.search_runs([experiment.experiment_id], f"tags.`{CELL}` != ''")
        place = json.loads((out / "tracking.json").read_text())
        self.runs = [run for run in runs if run.data.tags["mlflow.parentRunId"] == place["parent"]]
        storage = optuna.storages.RDBStorage(postgres.url, engine_kwargs={"poolclass": NullPool})
        names = [name for name in optuna.get_all_study_names(storage) if name.startswith(f"{study}-")]
        studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
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


def wait_for(found: Callable[[], object]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + 300
    while not found():
        assert time.monotonic() < until
        time.sleep(0.1)


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
    full |= {"reuse": False}
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

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


@pytest.mark.usefixtures("known_content")
def test_a_server_that_is_away_when_the_last_cell_ends_is_waited_for(
    postgres: Postgres, mlflow: Mlflow, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    end = StudyProgress.__exit__

    def exit_and_restart(self: StudyProgress, *reason: Any) -> Any:
        threads.append(restart(mlflow, tmp_path, cells=0, seconds=4))
        while listens(mlflow.port):
            time.sleep(0.02)
        return end(self, *reason)

    monkeypatch.setattr(StudyProgress, "__exit__", exit_and_restart)
    where = {"storage": postgres.url, "tracking_uri": mlflow.url, "reuse": False}
    study = fakes.study(1, name="last")
    results = fakes.drive(study, tmp_path / "out", store, fakes.training(tmp_path / "notes"), **where)
    threads[0].join()
    assert results.complete
    Served("last", tmp_path / "out", mlflow, postgres).check(1, [1, 2, 3])


@pytest.mark.usefixtures("known_content")
@pytest.mark.parametrize("option", ["storage", "tracking_uri"])
def test_a_wrong_password_is_refused_in_one_line_that_does_not_show_it(
    option: str, postgres: Postgres, mlflow: Mlflow, store: Path, tmp_path: Path
) -> None:
    where = {"storage": postgres.url, "tracking_uri": mlflow.url}
    where[option] = where[option].replace(PASSWORD, "wr0ng-password")
    with pytest.raises(StudyError) as refused:
        fakes.drive(fakes.study(1, name="closed"), tmp_path / "out", store, fakes.training(tmp_path / "notes"), **where)
    assert "wr0ng" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert holding(tmp_path, "wr0ng") == holding(tmp_path, PASSWORD) == []


@pytest.mark.usefixtures("known_content")
@pytest.mark.parametrize("away", ["postgres", "mlflow"])
def test_a_server_that_restarts_loses_no_cell_and_doubles_none(
    away: str, postgres: Postgres, mlflow: Mlflow, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    server: Server = {"postgres": postgres, "mlflow": mlflow}[away]
    thread = restart(server, notes, cells=2, seconds=8)
    study = fakes.study(4, seeds=(1, 2), name=f"without-{away}")
    where = {"storage": postgres.url, "tracking_uri": mlflow.url, "reuse": False}
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
    study = fakes.study(4, name="left")
    where = {"storage": postgres.url, "tracking_uri": mlflow.url, "reuse": False}
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
    drivers = GcsClient(address=cluster.gcs_address).get_all_job_info().values()
    assert {driver.entrypoint for driver in drivers} == {"lrlora"}, "and not the command with its passwords"
    assert holding(Path(cluster.head_node.get_session_dir_path()), PASSWORD) == []
    assert holding(tmp_path / "served", PASSWORD) == []
    assert [path.name for path in holding(mlflow.folder, PASSWORD)] == ["auth.ini"], "what the server itself was given"
    assert "s3cret" not in (postgres.folder / "log").read_text()

    port = free_port()
    pages = command.start("ui", "files", "--port", str(port), cwd=tmp_path)
    wait_for(lambda: listens(port))
    addresses = listening(os.getpid())
    pages.send_signal(signal.SIGINT)
    assert pages.wait(60) == 0
    assert all(map(is_loopback, addresses)), f"the servers, the nodes of Ray and the pages listen on {addresses}"


def test_a_cluster_for_one_command_listens_on_loopback_and_ends_with_it_at_sigterm(
    postgres: Postgres, mlflow: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits.yaml").write_text(DIGITS.replace("steps: 6", "steps: 100000"))
    for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.delenv(name)
    session = Path(tempfile.mkdtemp(prefix="lr-"))  # the path of a socket has 107 characters at most
    monkeypatch.setenv("RAY_TMPDIR", str(session))
    where = ("--executor", "ray", "--storage", postgres.url, "--tracking-uri", mlflow.url)
    process = command.start("study", "run", "digits.yaml", "--budget", "smoke", "--out", "out", *where, cwd=tmp_path)
    status = tmp_path / "out" / STATUS_FILE
    wait_for(lambda: status.exists() and any(one["step"] for one in json.loads(status.read_text())["running"]))
    begun = psutil.Process(process.pid).children(recursive=True)
    addresses = listening(process.pid)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert addresses, "Ray listens"
    assert all(map(is_loopback, addresses)), addresses
    assert not psutil.wait_procs(begun, timeout=30)[1]
    assert {run.info.status for run in Served("digits", tmp_path / "out", mlflow, postgres).runs} == {"KILLED"}
    assert PASSWORD not in output
    assert holding(session, PASSWORD) == holding(tmp_path, PASSWORD) == []
    shutil.rmtree(session)

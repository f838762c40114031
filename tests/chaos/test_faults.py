"""Faults of disks and stores: each ends the command, the same command goes on, and nothing is lost or mixed."""

from __future__ import annotations

import errno
import io
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import fakes
import mlflow
import optuna
import pytest
from rich.console import Console

from lrlora.studies.cli.surroundings import explain_surroundings
from lrlora.studies.errors import StudyError
from lrlora.studies.record.results import Results
from lrlora.studies.record.tracking import CellRun, Tracker

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning")]
CELLS = 4


def full_at(function: Callable[..., Any], calls: list[int], fails_at: int) -> Callable[..., Any]:
    """A function that finds the disk full at one of its calls."""

    def called(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == fails_at:
            raise OSError(errno.ENOSPC, "No space left on device", "a file")
        return function(*arguments, **named)

    return called


def check_completed(out: Path, notes: Path, begun: int) -> None:
    runs = fakes.runs(out)
    assert Counter(status for _, status, _ in runs) == {"FINISHED": CELLS}
    assert len({cell for cell, _, _ in runs}) == CELLS
    assert all(steps == [1, 2, 3] for _, _, steps in runs)
    assert fakes.trials(out)["COMPLETE"] == CELLS
    assert fakes.trials(out)["RUNNING"] == 0
    assert sum(fakes.notes_of(notes).values()) == begun


WRITES = {
    "before a run": (Tracker, "start_cell"),
    "the record": (CellRun, "finish"),
    "MLflow, within a result": (mlflow.MlflowClient, "log_text"),
    "MLflow, its last word": (mlflow.MlflowClient, "set_terminated"),
    "Optuna, a trial": (optuna.storages.RDBStorage, "_create_new_trial"),
    "Optuna, its value": (optuna.storages.RDBStorage, "set_trial_state_values"),
}
"""Where the disk is full at the second write."""


@pytest.mark.parametrize("where", WRITES)
def test_a_disk_that_is_full_ends_the_command_in_one_line_and_the_same_command_goes_on(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    owner, name = WRITES[where]
    out, notes = tmp_path / "out", tmp_path / "notes"
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, full_at(getattr(owner, name), [], 2))
        with pytest.raises(OSError, match="No space left") as caught:
            fakes.drive(fakes.study(CELLS), out, store, fakes.training(notes), workers=1)
    said = explain_surroundings(caught.value)
    assert said is not None
    assert said.endswith("run the same command again to continue")
    kept = len(Results.load(out).records)
    begun = sum(fakes.notes_of(notes).values())
    assert kept >= 1
    assert fakes.drive(fakes.study(CELLS), out, store, fakes.training(notes)).complete
    check_completed(out, notes, begun + CELLS - kept)


def test_the_status_file_on_a_full_disk_ends_nothing(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"

    def full(path: Path, content: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lrlora.studies.execution.live.write_whole", full)
    assert fakes.drive(fakes.study(CELLS), out, store, fakes.training(notes)).complete
    check_completed(out, notes, CELLS)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked by a server there")
def test_the_cells_of_a_server_that_is_killed_are_tried_again_with_a_new_one(tmp_path: Path, store: Path) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    killed: list[int] = []

    def kill() -> None:
        while not notes.exists():
            time.sleep(0.05)
        killed.append(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    assert fakes.drive(fakes.study(CELLS), out, store, fakes.training(notes, seconds=0.5)).complete
    thread.join()
    assert forkserver._forkserver._forkserver_pid != killed[0]  # type: ignore[attr-defined]
    check_completed(out, notes, sum(fakes.notes_of(notes).values()))


# MLflow looks at the version of its store once for each process.
@pytest.mark.parametrize(
    ("name", "fault"), [("mlflow.db", "corrupt"), ("optuna.db", "corrupt"), ("optuna.db", "of another version")]
)
def test_a_store_that_cannot_be_used_is_one_line_and_left_as_it_is(
    tmp_path: Path, store: Path, name: str, fault: str
) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    fakes.drive(fakes.study(1), out, store, fakes.training(notes))
    whole = (out / name).read_bytes()
    if fault == "corrupt":
        (out / name).write_bytes(b"no database" * 1000)
    else:
        with sqlite3.connect(out / name) as opened:
            opened.execute("UPDATE alembic_version SET version_num = 'v99'")
        opened.close()
    broken = (out / name).read_bytes()
    with pytest.raises(StudyError) as caught:
        fakes.drive(fakes.study(2), out, store, fakes.training(notes))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (out / name).read_bytes() == broken
    (out / name).write_bytes(whole)
    assert fakes.drive(fakes.study(2), out, store, fakes.training(notes)).complete
    assert sorted(fakes.notes_of(notes).values()) == [1, 1]


def test_an_upgrade_in_mid_study_runs_the_old_cells_again_and_mixes_nothing(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, notes, said = tmp_path / "out", tmp_path / "notes", io.StringIO()
    fakes.drive(fakes.study(2), out, store, fakes.training(notes))
    monkeypatch.setattr("lrlora.studies.spec.identity.TRAINING_VERSION", 999)
    fakes.drive(fakes.study(CELLS), out, store, fakes.training(notes), Console(file=said, width=300))
    assert "the version of the training code (1, now 999) changed since 2 cells ran: they will run again" in (
        said.getvalue()
    )
    results = Results.load(out)
    assert {record["provenance"]["parts"]["training code"] for record in results.records} == {"999"}
    assert results.complete
    assert len(fakes.runs(out)) == CELLS + 2, "the old cells stay in MLflow"
    assert sum(fakes.notes_of(notes).values()) == CELLS + 2

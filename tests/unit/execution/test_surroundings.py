"""A study beside other processes, in a user's shell, and with names that people give."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import sys
import threading
import time
from functools import partial
from pathlib import Path

import fakes
import pytest
from rich.console import Console

from lrlora.studies.errors import StudyError
from lrlora.studies.execution import checks
from lrlora.studies.execution.quiet import quiet
from lrlora.studies.execution.resources import Execution
from lrlora.studies.execution.run import run_study

# What MLflow's tables say of the future, when they are first made.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(300)]


@pytest.mark.skipif(sys.platform != "linux", reason="forks this process")
def test_of_three_processes_at_one_fresh_folder_one_runs_and_the_others_get_one_line(
    tmp_path: Path, store: Path
) -> None:
    fakes.drive(fakes.study(1), tmp_path / "first", store, fakes.training(tmp_path / "first notes"))  # imports all
    out, notes, says = tmp_path / "out", tmp_path / "notes", [tmp_path / f"said {i}" for i in range(3)]
    run = partial(fakes.drive, fakes.study(3), out, store, fakes.training(notes, seconds=0.7), workers=1)
    for pid in [fakes.forked(run, said) for said in says]:
        os.waitpid(pid, 0)
    refused = [said.read_text("utf-8") for said in says if said.exists()]
    assert len(refused) == 2
    for line in refused:
        assert line.startswith(f"--out {out}: ")
        assert "a study here" in line
        assert "\n" not in line
    assert sorted(status for _, status, _ in fakes.runs(out)) == ["FINISHED"] * 3
    assert set(fakes.notes_of(notes).values()) == {1}


def test_stores_that_another_process_locks_for_12_seconds_are_waited_for(tmp_path: Path, store: Path) -> None:
    out, notes, locked = tmp_path / "out", tmp_path / "notes", []

    def lock() -> None:
        while not notes.exists():
            time.sleep(0.05)
        with contextlib.ExitStack() as opened:
            for name in ("mlflow.db", "optuna.db"):
                database = opened.enter_context(contextlib.closing(sqlite3.connect(out / name, timeout=60)))
                database.execute("BEGIN EXCLUSIVE")
            time.sleep(12)
            locked.append(True)

    thread = threading.Thread(target=lock)
    thread.start()
    results = fakes.drive(fakes.study(2), out, store, fakes.training(notes, seconds=0.5))
    thread.join()
    assert locked
    assert [record["status"] for record in results.records] == ["finished"] * 2
    assert set(fakes.notes_of(notes).values()) == {1}


def test_the_stores_of_the_users_shell_are_left_alone(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'users.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "the user's")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    out = tmp_path / "out"
    assert fakes.drive(fakes.study(2), out, store, fakes.training(tmp_path / "notes")).complete
    assert [status for _, status, _ in fakes.runs(out)] == ["FINISHED"] * 2
    assert {path.name for path in tmp_path.iterdir()} == {"out", "notes"}


NAMES = [
    "σ 😀 漢字",
    "\"double\" 'single' `back`",
    "[bold]x[/bold] <b>&amp;</b> {r} %s $x$",
    "two\nlines\tand a tab",
    "n" * 1200,
    "../a/b\\c",
]


def test_variants_of_any_name_are_run_recorded_and_reported(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lrlora.studies.cli.main import run

    variants = {name: {"r": i + 1} for i, name in enumerate(NAMES)}
    chosen = fakes.study(axes={}, variants=variants, reference=NAMES[0], seeds=[1, 2])
    out, said = tmp_path / "out", io.StringIO()
    notes = tmp_path / "notes"
    results = fakes.drive(chosen, out, store, fakes.training(notes), Console(file=said, width=200))
    assert results.complete
    assert {record["variant"] for record in results.records} == set(NAMES)
    with quiet():
        folder = results.report()
    data = json.loads((folder / "results.json").read_text("utf-8"))
    assert {one["name"] for one in data["variants"]} == set(NAMES)
    page = (folder / "index.html").read_text("utf-8")
    assert "<b>&amp;</b>" not in page
    assert "&lt;b&gt;&amp;amp;&lt;/b&gt;" in page
    assert run(["study", "status", str(out)]) == 0
    assert "[bold]x[/bold]" in capsys.readouterr().out
    assert "[bold]x[/bold]" in said.getvalue()
    assert {path.name for path in tmp_path.iterdir()} == {"out", "notes"}


def test_ctrl_c_before_the_first_cell_leaves_a_folder_that_goes_on(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"

    def interrupted(study: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checks, "check_design", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(fakes.study(1), "smoke", out, Console(file=io.StringIO()), Execution(), fakes.training(notes))
    assert out.exists()
    assert fakes.drive(fakes.study(2, name="another"), out, store, fakes.training(notes)).complete, "it binds nobody"


@pytest.mark.parametrize("how", ["older", "newer", "corrupt"])
def test_an_optuna_store_that_cannot_be_used_is_one_line_and_stays_as_it_is(
    tmp_path: Path, store: Path, how: str
) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    drive = partial(fakes.drive, fakes.study(2), out, store, fakes.training(notes))
    assert drive().complete
    database = out / "optuna.db"
    if how == "corrupt":
        database.write_bytes(b"no database" * 1000)
    else:
        version = "v0.9.0.a" if how == "older" else "v99.0.0.a"
        with contextlib.closing(sqlite3.connect(database)) as opened, opened:
            opened.execute("UPDATE alembic_version SET version_num = ?", (version,))
    before = database.read_bytes()
    with pytest.raises(StudyError, match=r"optuna\.db: cannot be opened: ") as caught:
        drive()
    assert "\n" not in str(caught.value)
    assert database.read_bytes() == before


@pytest.mark.parametrize("how", ["deleted", "empty"])
def test_an_optuna_store_that_is_gone_is_made_again_of_the_record_and_nothing_is_trained(
    tmp_path: Path, store: Path, how: str
) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    drive = partial(fakes.drive, fakes.study(2), out, store, fakes.training(notes))
    assert drive().complete
    (out / "optuna.db").unlink()
    if how == "empty":
        (out / "optuna.db").touch()
    assert drive().complete
    assert sum(fakes.notes_of(notes).values()) == 2
    assert fakes.trials(out) == {"COMPLETE": 2}

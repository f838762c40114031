"""Optuna's trials after drivers that died, and where a study grows."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import fakes
import optuna
import pytest
from optuna.trial import TrialState

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.queue import CellQueue, open_storage
from lrlora.studies.record.addresses import sqlite_address
from lrlora.studies.spec.cells import expand_cells


def queue(folder: Path, ranks: int = 3, done: dict[str, float | None] | None = None) -> CellQueue:
    return CellQueue(open_storage(folder), "tiny", "maximize", expand_cells(fakes.study(ranks)), done or {})


def states(opened: CellQueue) -> dict[TrialState, int]:
    return Counter(trial.state for trial in opened.study.get_trials())


def test_each_cell_is_asked_for_once_with_its_parameters(tmp_path: Path) -> None:
    for _ in range(2):
        opened = queue(tmp_path)
        assert (opened.waiting, states(opened)) == (3, {}), "what waits is not in the store"
    while opened.waiting:
        cell, trial = opened.ask()
        opened.tell(trial, float(cell.variant.config["r"]), "finished")
    assert opened.study.best_trial.params == {"variant": "r=3", "seed": 1, "r": 3}
    assert states(opened) == {TrialState.COMPLETE: 3}


def test_what_a_dead_driver_left_is_ended_and_enqueued_or_counts_if_it_was_recorded(tmp_path: Path) -> None:
    first = queue(tmp_path)
    (recorded, _), (lost, _) = first.ask(), first.ask()
    second = queue(tmp_path, done={recorded.id: 0.5})
    expected = {TrialState.COMPLETE: 1, TrialState.FAIL: 1}
    assert states(second) == expected
    assert states(queue(tmp_path, done={recorded.id: 0.5})) == expected, "and is told once"
    waiting = [second.ask()[0].id for _ in range(second.waiting)]
    assert lost.id in waiting
    assert recorded.id not in waiting


def test_a_study_that_grows_or_lost_its_store_keeps_what_is_done(tmp_path: Path) -> None:
    done = {cell.id: None if cell.variant.name == "r=1" else 0.25 for cell in expand_cells(fakes.study(2))}
    for ranks, waiting in ((2, 0), (3, 1)):
        opened = queue(tmp_path, ranks, done)
        assert opened.waiting == waiting
        assert (states(opened)[TrialState.COMPLETE], states(opened)[TrialState.FAIL]) == (1, 1)


KILLED = """
import os, sys
from pathlib import Path
import sqlalchemy
from lrlora.studies.execution.queue import open_storage

@sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
def kill(connection, cursor, statement, *others):
    if statement.startswith("CREATE UNIQUE INDEX ix_studies_study_name"):
        os._exit(9)

open_storage(Path(sys.argv[1]))
"""


def test_a_driver_that_dies_while_it_makes_the_tables_leaves_no_store_without_an_index(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == 9
    for _ in range(2):
        queue(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["optuna.db"]
    assert len(optuna.get_all_study_names(sqlite_address(tmp_path / "optuna.db"))) == 1


def test_a_store_that_cannot_be_opened_is_one_line_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        open_storage(tmp_path, "nosuch://user:secret@host/db")
    assert str(caught.value).startswith("--storage nosuch://***@host/db: cannot be opened: ")
    assert "secret" not in str(caught.value)
    (tmp_path / "optuna.db").write_bytes(b"no database" * 100)
    with pytest.raises(StudyError, match=r"optuna\.db: cannot be opened"):
        open_storage(tmp_path)

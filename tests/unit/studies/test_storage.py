"""The queue: every cell is handed out once, and what a dead process left is put right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState

from lrlora.studies.execution.queue import CELL, CellQueue
from lrlora.studies.spec.cells import Cell, expand_cells
from lrlora.studies.spec.study import Study


def cells(count: int = 3) -> list[Cell]:
    axes = {"r": list(range(1, count + 1))}
    return expand_cells(Study.from_dict({"name": "tiny", "base": {"method": "lora"}, "axes": axes, "seeds": [1]}))


def queue(folder: Path, count: int = 3) -> CellQueue:
    return CellQueue(folder, "tiny", "maximize", cells(count))


def states(opened: CellQueue) -> dict[TrialState, int]:
    trials = opened.study.get_trials()
    return {state: sum(trial.state == state for trial in trials) for state in {trial.state for trial in trials}}


def test_reconciling_again_enqueues_nothing_twice(tmp_path: Path) -> None:
    for _ in range(3):
        opened = queue(tmp_path)
        opened.reconcile({})
    assert states(opened) == {TrialState.WAITING: 3}


def test_each_cell_is_claimed_once_and_then_there_is_none(tmp_path: Path) -> None:
    opened = queue(tmp_path)
    opened.reconcile({})
    claims = [opened.claim() for _ in range(3)]
    assert {claim.cell.id for claim in claims if claim} == {cell.id for cell in cells()}
    assert opened.claim() is None, "no sampler makes up a trial"
    assert all(opened.is_running(cell.id) for cell in cells())
    for number, claim in enumerate(claims):
        assert claim is not None
        claim.complete(float(number), "finished")
    assert states(opened) == {TrialState.COMPLETE: 3}
    trial = opened.study.best_trial
    assert trial.params == {"variant": "r=3", "seed": 1, "r": 3}
    assert trial.value == 2.0


def test_a_claim_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    first = queue(tmp_path)
    first.reconcile({})
    claim = first.claim()
    assert claim is not None
    second = queue(tmp_path)
    second.reconcile({})
    assert states(second) == {TrialState.RUNNING: 1, TrialState.WAITING: 2}
    rest = [second.claim(), second.claim(), second.claim()]
    assert rest[2] is None
    assert claim.cell.id not in {other.cell.id for other in rest if other}


def test_the_cell_of_a_dead_process_waits_again(tmp_path: Path) -> None:
    first = queue(tmp_path)
    first.reconcile({})
    claim = first.claim()
    assert claim is not None
    claim.lock.release()  # as the operating system does when a process dies
    second = queue(tmp_path)
    second.reconcile({})
    assert states(second) == {TrialState.FAIL: 1, TrialState.WAITING: 3}
    waiting = [trial.user_attrs[CELL] for trial in second.study.get_trials(states=(TrialState.WAITING,))]
    assert sorted(waiting) == sorted(cell.id for cell in cells())


def test_a_result_that_was_recorded_before_the_process_died_counts(tmp_path: Path) -> None:
    first = queue(tmp_path)
    first.reconcile({})
    claim = first.claim()
    assert claim is not None
    claim.lock.release()
    second = queue(tmp_path)
    second.reconcile({claim.cell.id: 0.5})
    assert states(second) == {TrialState.COMPLETE: 1, TrialState.WAITING: 2}
    assert second.study.best_value == 0.5
    second.reconcile({claim.cell.id: 0.5})
    assert states(second) == {TrialState.COMPLETE: 1, TrialState.WAITING: 2}, "and is told once"


def test_an_abandoned_cell_waits_again_and_a_diverged_one_does_not(tmp_path: Path) -> None:
    opened = queue(tmp_path, 2)
    opened.reconcile({})
    first, second = opened.claim(), opened.claim()
    assert first is not None
    assert second is not None
    first.abandon("interrupted")
    second.complete(None, "diverged")
    opened.reconcile({second.cell.id: None})
    assert states(opened) == {TrialState.FAIL: 2, TrialState.WAITING: 1}
    again = opened.claim()
    assert again is not None
    assert again.cell.id == first.cell.id


def test_a_study_grows_by_variants_without_losing_what_is_done(tmp_path: Path) -> None:
    opened = queue(tmp_path, 2)
    opened.reconcile({})
    done = {}
    while (claim := opened.claim()) is not None:
        claim.complete(0.25, "finished")
        done[claim.cell.id] = 0.25
    grown = queue(tmp_path, 3)
    grown.reconcile(done)
    assert states(grown) == {TrialState.COMPLETE: 2, TrialState.WAITING: 1}


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_storage import queue
opened = queue(Path(sys.argv[1]), 24)
while (claim := opened.claim()) is not None:
    print(claim.cell.id, flush=True)
    claim.complete(1.0, "finished")
"""


@pytest.mark.timeout(120)
def test_three_processes_share_the_cells_and_none_is_run_twice(tmp_path: Path) -> None:
    queue(tmp_path, 24).reconcile({})
    here = str(Path(__file__).parent)
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), here], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    ran = "".join(outputs).split()
    assert sorted(ran) == sorted(cell.id for cell in cells(24))

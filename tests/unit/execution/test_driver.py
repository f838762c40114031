"""One driver, clean workers: whatever a worker does is its cell's outcome, and each cell has one finished run."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fakes
import pytest
from rich.console import Console

from lrlora.studies.cli.study_status import read_live
from lrlora.studies.errors import StudyError
from lrlora.studies.execution.interruption import interrupted_by_termination
from lrlora.studies.execution.resources import Execution
from lrlora.studies.execution.run import run_study
from lrlora.studies.record.results import read_study_file
from lrlora.studies.spec.cells import expand_cells

# What MLflow's tables say of the future, when they are first made.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(300)]


def check_record(out: Path, cells: int) -> None:
    """Each cell has one finished run with each of its steps once, and one complete trial; nothing waits or runs."""
    runs = fakes.runs(out)
    assert Counter(status for _, status, _ in runs) == {"FINISHED": cells}
    assert len({cell for cell, _, _ in runs}) == cells
    assert all(steps == [1, 2, 3] for _, _, steps in runs)
    trials = fakes.trials(out)
    assert trials["COMPLETE"] == cells
    assert trials["WAITING"] == trials["RUNNING"] == 0


def test_every_cell_is_run_once_by_a_process_of_its_own(tmp_path: Path, store: Path) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    results = fakes.drive(fakes.study(3), out, store, fakes.training(notes))
    assert [record["status"] for record in results.records] == ["finished"] * 3
    check_record(out, 3)
    processes = {path.name.split("-")[1] for path in notes.iterdir()}
    assert len(processes) == 3
    assert str(os.getpid()) not in processes
    assert len(list(out.glob("artifacts/*/artifacts/adapter/adapter.txt"))) == 3
    left = {path.name for path in out.iterdir()}
    assert left == {".driver.lock", "artifacts", "mlflow.db", "optuna.db", "study.json", "tracking.json"}
    again = fakes.drive(fakes.study(3, seeds=(1, 2)), out, store, fakes.training(notes))
    assert again.complete
    assert fakes.notes_of(notes) == {record["cell"]: 1 for record in again.records}, "what is done is not run again"
    check_record(out, 6)


def test_a_cell_without_a_gpu_is_recorded_as_one_of_the_cpu(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "H100")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    results = fakes.drive(fakes.study(1), tmp_path / "out", store, fakes.training(tmp_path), gpus_per_cell=0)
    (provenance,) = [record["provenance"] for record in results.records]
    assert (provenance["parts"]["device"], provenance["machine"]["device"]) == ("cpu", "cpu")
    devices = [
        expand_cells(fakes.study(1), 1, Execution(gpus_per_cell=gpus).device)[0].parts["device"] for gpus in (0, 1)
    ]
    assert devices == ["cpu", "cuda"]
    assert expand_cells(fakes.study(1), 1)[0].parts["device"] == "cuda"


ENDS = {
    "r=1": ("segfault", "SIGSEGV"),
    "r=2": ("killed", "SIGKILL"),
    "r=3": ("raise", "ValueError: this cell does not work"),
    "r=4": ("exit", "exit status 3"),
    "r=5": ("hang", "longer than the limit of 6 s (--cell-timeout)"),
    "r=6": ("not json", "not JSON serializable"),
}


def test_whatever_a_worker_does_is_the_outcome_of_its_cell_alone(tmp_path: Path, store: Path) -> None:
    out, notes, said = tmp_path / "out", tmp_path / "notes", io.StringIO()
    acts = {variant: act for variant, (act, _) in ENDS.items()}
    results = fakes.drive(
        fakes.study(8), out, store, fakes.training(notes, acts), Console(file=said, width=300), cell_timeout=6
    )
    found = {record["variant"]: record for record in results.records}
    for variant, (_, reason) in ENDS.items():
        assert found[variant]["status"] == "failed"
        assert reason in found[variant]["reason"].splitlines()[-1], found[variant]["reason"]
        assert said.getvalue().count(f"{variant} seed 1: failed: ") == 2, "it was tried twice"
    assert "fakes.py" in found["r=1"]["reason"], "where it crashed"
    assert "fakes.py" in found["r=5"]["reason"], "where it hung"
    assert [found[variant]["status"] for variant in ("r=7", "r=8")] == ["finished"] * 2
    begun = fakes.notes_of(notes)
    assert sorted(begun.values()) == [1, 1, 2, 2, 2, 2, 2, 2]
    mended = fakes.drive(fakes.study(8), out, store, fakes.training(notes))
    assert {record["status"] for record in mended.records} == {"finished"}, "the next command tries them again"
    assert sum(fakes.notes_of(notes).values()) == 14 + 6
    check_record(out, 8)


def test_a_divergence_is_a_result_and_a_failure_that_passes_is_none(tmp_path: Path, store: Path) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    acts = {"r=1": "diverge", "r=2": "once killed"}
    for _ in range(2):
        results = fakes.drive(fakes.study(2), out, store, fakes.training(notes, acts))
        assert [record["status"] for record in results.records] == ["diverged", "finished"]
        assert sorted(fakes.notes_of(notes).values()) == [1, 2]
        assert fakes.trials(out) == {"FAIL": 2, "COMPLETE": 1}


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C, which a test runner in the background ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_closes_the_runs_and_gives_the_cells_back(tmp_path: Path, store: Path, number: int) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"

    def interrupt() -> None:
        while not notes.exists() or len(list(notes.iterdir())) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), interrupted_by_termination():
        fakes.drive(fakes.study(4), out, store, fakes.training(notes, dict.fromkeys(("r=1", "r=2"), "once hang")))
    assert {status for _, status, _ in fakes.runs(out)} == {"KILLED"}
    assert fakes.trials(out) == {"FAIL": 2}
    assert not (out / ".work").exists()
    pids = [int(path.name.split("-")[1]) for path in notes.iterdir()]
    assert not any(is_alive(pid) for pid in pids)
    assert fakes.drive(fakes.study(4), out, store, fakes.training(notes)).complete
    check_record(out, 4)


def test_a_second_driver_is_told_who_has_the_folder_and_anyone_can_see_what_runs(tmp_path: Path, store: Path) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    refused: list[str] = []
    seen: list[Any] = []

    def second() -> None:
        while not notes.exists():
            time.sleep(0.05)
        with pytest.raises(StudyError) as caught:
            fakes.drive(fakes.study(2), out, store, fakes.training(notes))
        refused.append(str(caught.value))
        seen.append(read_live(out))

    thread = threading.Thread(target=second)
    thread.start()
    assert fakes.drive(fakes.study(2), out, store, fakes.training(notes, seconds=1)).complete
    thread.join()
    (message,) = refused
    assert f"process {os.getpid()} on " in message
    assert " has been running a study here since 2" in message
    ((driver, live),) = seen
    assert driver["pid"] == os.getpid()
    assert (live["study"], live["cells"], live["resources"]) == ("tiny", 2, "2 workers with 1 thread each")
    assert {one["label"] for one in live["running"]} == {"r=1 seed 1", "r=2 seed 1"}
    assert all(one["steps"] == fakes.STEPS for one in live["running"])
    assert read_live(out) == (None, None), "no driver, no status"
    check_record(out, 2)


def kill(run: Callable[[], object], after: float, seen: Path | None = None, by: int = signal.SIGKILL) -> None:
    """Run something in a fork of this process, and end it after some seconds.

    Args:
        run: What to run.
        after: Seconds.
        seen: A file from whose appearance they count.
        by: The signal.
    """
    pid = fakes.forked(run)
    while seen is not None and not seen.exists():
        time.sleep(0.01)
    time.sleep(after)
    os.kill(pid, by)  # the driver alone: its workers have to notice
    os.waitpid(pid, 0)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture(scope="module")
def ready(store: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """All is imported, and the server that forks workers runs."""
    folder = tmp_path_factory.mktemp("ready")
    fakes.drive(fakes.study(1), folder / "out", store, fakes.training(folder / "notes"))


@pytest.mark.usefixtures("ready")
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_driver_that_is_killed_anywhere_goes_on_and_its_workers_end(tmp_path: Path, store: Path) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    chance = random.Random(0)
    for by in (signal.SIGKILL, signal.SIGTERM) * 2:
        run = partial(fakes.drive, fakes.study(8), out, store, fakes.training(notes, seconds=0.1))
        kill(run, chance.uniform(0.2, 4), by=by)
        deadline = time.monotonic() + 20
        pids = [int(path.name.split("-")[1]) for path in notes.iterdir()] if notes.exists() else []
        while any(is_alive(pid) for pid in pids):
            assert time.monotonic() < deadline, "a worker outlives its driver"
            time.sleep(0.05)
    assert notes.exists(), "no driver came as far as a worker"
    assert fakes.drive(fakes.study(8), out, store, fakes.training(notes)).complete
    check_record(out, 8)


@pytest.mark.usefixtures("ready")
@pytest.mark.skipif(sys.platform != "linux", reason="forks this process")
def test_a_command_that_is_killed_in_its_first_seconds_goes_on(tmp_path: Path) -> None:
    out, notes, said = tmp_path / "out", tmp_path / "notes", Console(file=io.StringIO())
    run = partial(run_study, fakes.study(1), "smoke", out, said, Execution(workers=1), fakes.training(notes))
    for after in (0, 0.5, 2):
        kill(run, after, out / "study.json")
    assert read_study_file(out)["study"]["name"] == "tiny"
    other = fakes.study(1, name="other")
    with pytest.raises(StudyError, match="no such basis"):
        run_study(fakes.study(1, base={"method": "lrlora", "basis": "no such basis"}), "smoke", tmp_path / "new", said)
    assert not (tmp_path / "new").exists(), "a study that is refused leaves nothing"
    assert run().complete
    check_record(out, 1)
    with pytest.raises(StudyError, match="its name is 'tiny', not 'other'"):
        run_study(other, "smoke", out, said, None, fakes.training(notes))
    assert read_study_file(out)["study"]["name"] == "tiny"

"""Times the driver with cells that do nothing: ``python tests/chaos/load.py 100 10000`` prints a table.

The cells are run by an executor within this process, since a process for each would measure the forks. The times of a
cell are given in processor time too, which other processes of the machine change less.
"""

from __future__ import annotations

import io
import sqlite3
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from unittest import mock

from rich.console import Console

from lrlora.studies.execution.driver import Driver
from lrlora.studies.execution.executor import Ended, Event, Executor, Handle, Started, Step
from lrlora.studies.execution.folder import hold
from lrlora.studies.execution.resources import Execution
from lrlora.studies.record.store import open_client
from lrlora.studies.spec.cells import Cell
from lrlora.studies.spec.fingerprints import Fingerprints
from lrlora.studies.spec.study import Study

WORKERS = 16


class Immediately(Executor):
    """Ends every cell at once, with a step and a record.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.workers = WORKERS
        self._folder = folder
        self._running: deque[Handle] = deque()

    def submit(self, cell: Cell) -> Handle:
        """See :meth:`Executor.submit`."""
        handle = Handle(cell, len(self._running))
        self._running.append(handle)
        return handle

    def events(self, timeout: float) -> list[tuple[Handle, Event]]:
        """See :meth:`Executor.events`."""
        from lrlora.studies.record.run_record import RunRecord

        handle = self._running.popleft()
        metrics = {"accuracy": (handle.cell.seed % 97) / 97, "loss": 1.0}
        record = RunRecord.of(handle.cell).plain() | {"status": "finished", "metrics": metrics, "train_loss": [1.0]}
        events = [Started(1, "here"), Step(1, {"train/loss": 1.0}), Ended(record, self._folder)]
        return [(handle, event) for event in events]

    def release(self, handle: Handle) -> None:
        """See :meth:`Executor.release`."""

    def close(self) -> None:
        """See :meth:`Executor.close`."""


def study(cells: int) -> Study:
    """A study of ten variants.

    Args:
        cells: A multiple of 10.
    """
    return Study.from_dict(
        {
            "name": "load",
            "base": {"method": "lora"},
            "axes": {"r": list(range(1, 11))},
            "seeds": list(range(1, cells // 10 + 1)),
            "reference": "r=1",
            "training": {"steps": 1},
            "budgets": {"smoke": {}},
        }
    )


def measure(cells: int, folder: Path, report: bool = True) -> dict[str, float]:
    """Returns the seconds of each part, ``cell`` and ``processor`` for each cell and the others for all.

    And how many cells are ``lost`` and ``doubled``, as MLflow's tables say.

    Args:
        cells: A multiple of 10.
        folder: An empty one.
        report: Write a report too.
    """
    out, nothing = folder / "out", folder / "nothing"
    nothing.mkdir()
    resolved = study(cells).resolve("smoke")
    found: dict[str, float] = {}
    began = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal began
        found[name] = time.perf_counter() - began
        began = time.perf_counter()

    with (
        mock.patch.object(Fingerprints, "data", return_value="1"),
        mock.patch.object(Fingerprints, "weights", return_value="3"),
        mock.patch.object(Driver, "_executor", return_value=Immediately(nothing)),
        hold(out, resolved, "smoke"),
    ):
        open_client(out)
        began = time.perf_counter()
        driver = Driver(resolved, "smoke", out, Console(file=io.StringIO()), Execution(workers=WORKERS))
        lap("plan")
        busy = time.process_time()
        with mock.patch("lrlora.studies.execution.driver.Results.load"):
            driver.go()
        lap("run")
        found |= {"cell": found["run"] / cells, "processor": (time.process_time() - busy) / cells}
        again = Driver(resolved, "smoke", out, Console(file=io.StringIO()), Execution(workers=WORKERS))
        lap("open again")
        results = again.go()
        lap("load")
        assert results.complete
        found |= count(out, cells)
        began = time.perf_counter()
    if report:
        results.report()
        lap("report")
    return found


def count(out: Path, cells: int) -> dict[str, float]:
    """Returns how many cells have no finished run, and how many have more than one.

    Args:
        out: The folder of the study.
        cells: That it has.
    """
    with sqlite3.connect(out / "mlflow.db") as store:
        runs = store.execute(
            "SELECT COUNT(*) FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid WHERE tags.key = 'lrlora.cell' "
            "AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active' GROUP BY tags.value"
        ).fetchall()
    store.close()
    return {"lost": cells - len(runs), "doubled": sum(times > 1 for (times,) in runs)}


def main() -> None:
    """Print a row for each number of cells."""
    columns = ("cells", "plan (s)", "run (s)", "a cell (ms)", "its processor time (ms)")
    columns += ("open again (s)", "load (s)", "report (s)", "lost", "doubled")
    print(f"| {' | '.join(columns)} |\n|{' ---: |' * len(columns)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="lrlora-load-") as folder:
        measure(10, _made(folder, "first"), report=False)  # imports
        for cells in map(int, sys.argv[1:] or ("100", "10000")):
            one = measure(cells, _made(folder, str(cells)))
            print(
                f"| {cells} | {one['plan']:.1f} | {one['run']:.1f} | {1000 * one['cell']:.0f} "
                f"| {1000 * one['processor']:.0f} | {one['open again']:.1f} | {one['load']:.1f} "
                f"| {one['report']:.1f} | {one['lost']:g} | {one['doubled']:g} |",
                flush=True,
            )


def _made(folder: str, name: str) -> Path:
    made = Path(folder, name)
    made.mkdir()
    return made


if __name__ == "__main__":
    main()

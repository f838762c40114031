"""Times the driver with cells that do nothing: ``python tests/chaos/load.py 100 10000`` prints a table.

The cells are run by an executor within this process, since a process for each would measure the forks.
"""

from __future__ import annotations

import io
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
    """Returns the seconds of each part, ``cell`` for each cell and the others for all.

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
        mock.patch.object(Fingerprints, "data", return_value={"train": "1", "test": "2"}),
        mock.patch.object(Fingerprints, "weights", return_value="3"),
        mock.patch.object(Driver, "_executor", return_value=Immediately(nothing)),
        hold(out, resolved, "smoke"),
    ):
        open_client(out)
        began = time.perf_counter()
        driver = Driver(resolved, "smoke", out, Console(file=io.StringIO()), Execution(workers=WORKERS))
        lap("plan")
        with mock.patch("lrlora.studies.execution.driver.Results.load"):
            driver.go()
        lap("run")
        found["cell"] = found["run"] / cells
        again = Driver(resolved, "smoke", out, Console(file=io.StringIO()), Execution(workers=WORKERS))
        lap("open again")
        results = again.go()
        lap("load")
        assert results.complete
    if report:
        results.report()
        lap("report")
    return found


def main() -> None:
    """Print a row for each number of cells."""
    print("| cells | plan (s) | run (s) | a cell (ms) | open again (s) | load (s) | report (s) |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory(prefix="lrlora-load-") as folder:
        measure(10, _made(folder, "first"), report=False)  # imports
        for cells in map(int, sys.argv[1:] or ("100", "10000")):
            one = measure(cells, _made(folder, str(cells)))
            print(
                f"| {cells} | {one['plan']:.1f} | {one['run']:.1f} | {1000 * one['cell']:.1f} "
                f"| {one['open again']:.1f} | {one['load']:.1f} | {one['report']:.1f} |",
                flush=True,
            )


def _made(folder: str, name: str) -> Path:
    made = Path(folder, name)
    made.mkdir()
    return made


if __name__ == "__main__":
    main()

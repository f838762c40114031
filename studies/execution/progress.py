"""What a running study shows: a bar for all of it, one for each cell that runs, and a line for each that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn

from lrlora.studies.spec.cells import Cell


class StudyProgress:
    """Progress bars on a terminal; elsewhere only the lines, so that a log stays readable.

    Args:
        console: Where to show it.
        steps: Optimizer steps of the cells that are still to be run, for the remaining time.
        cells: Cells of the study.
        done: Cells that had ended before.
    """

    def __init__(self, console: Console, steps: int, cells: int, done: int) -> None:
        self._cells, self._done, self._steps = cells, done, steps
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeLeftColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._all = self._bars.add_task("", total=steps)
        self._running: dict[str, TaskID] = {}
        self._at: dict[str, int] = {}
        self._before = 0
        self._describe()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def add(self, cell: Cell) -> None:
        """A cell was added to the study."""
        self._cells += 1
        self._steps += cell.variant.training.steps
        self._bars.update(self._all, total=self._steps)
        self._describe()

    def begin(self, cell: Cell, worker: str = "") -> None:
        """A cell starts.

        Args:
            cell: The cell.
            worker: What the worker that runs it is called, where there are several.
        """
        label = escape(f"{worker}  {cell.label}".strip())
        self._running[cell.id] = self._bars.add_task(label, total=cell.variant.training.steps)
        self._at[cell.id] = 0

    def step(self, cell: Cell, step: int, figures: Mapping[str, float | None]) -> None:
        """A step or a validation of a running cell is over."""
        loss = figures.get("train/loss")
        described = {} if loss is None else {"description": escape(f"{cell.label}  loss {loss:.3f}")}
        self._bars.update(self._running[cell.id], completed=step, **described)  # type: ignore[arg-type]
        self._at[cell.id] = step
        self._show_steps()

    def end(self, cell: Cell, record: Mapping[str, Any], final: bool) -> None:
        """A cell has ended.

        Args:
            cell: The cell.
            record: Its record.
            final: Whether it is over with it, or will be tried again.
        """
        if final:
            self._done += 1
            self._before += cell.variant.training.steps
        del self._at[cell.id]
        self._bars.remove_task(self._running.pop(cell.id))
        self._show_steps()
        self._describe()
        self.say(f"[{self._done}/{self._cells}] {cell.label}: {describe(record)}")

    def say(self, line: str) -> None:
        """Write a line above the bars, as it is."""
        self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show_steps(self) -> None:
        self._bars.update(self._all, completed=self._before + sum(self._at.values()))

    def _describe(self) -> None:
        self._bars.update(self._all, description=f"{self._done} of {self._cells} cells, all steps")


def describe(record: Mapping[str, Any]) -> str:
    """The outcome of a cell in a few words."""
    if record["status"] == "finished":
        figures = ", ".join(f"{name} {value:.4f}" for name, value in sorted(record["metrics"].items()))
        return f"{figures}, {record['step_seconds']:.2f} s a step, {record['duration_seconds']:.0f} s"
    if record["status"] == "diverged":
        return f"diverged at step {record['diverged_at']}"
    if record["status"] == "pruned":
        return str(record["reason"])
    return "failed: " + str(record["reason"]).strip().splitlines()[-1]

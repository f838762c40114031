"""What runs cells: an executor takes cells and gives back events. The driver knows no more of workers than this."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrlora.studies.spec.cells import Cell

Record = dict[str, Any]
Figures = Mapping[str, float | None]
RunCell = Callable[[Cell, Path, Callable[[int, Figures], None]], Record]
"""Trains a cell: :func:`lrlora.studies.training.loop.run_cell`."""


@dataclass(frozen=True)
class Started:
    """The worker is there and begins the cell."""

    pid: int
    host: str


@dataclass(frozen=True)
class Step:
    """A step or a validation is over."""

    step: int
    figures: Figures


@dataclass(frozen=True)
class Ended:
    """The cell has a record; ``files`` is the folder with what it saved."""

    record: Record
    files: Path


@dataclass(frozen=True)
class Died:
    """The worker ended without a record."""

    reason: str


Event = Started | Step | Ended | Died


@dataclass(eq=False)
class Handle:
    """A cell that was submitted.

    Attributes:
        cell: The cell.
        worker: The number of its worker, from 0.
        pid: Of the worker's process, once that has begun.
        host: Where that is.
        submitted: When, by :func:`time.monotonic`.
    """

    cell: Cell
    worker: int
    pid: int | None = None
    host: str = ""
    submitted: float = field(default_factory=time.monotonic)


class Executor(ABC):
    """Runs cells, as many at a time as it has workers. Each cell is run by a fresh process."""

    workers: int

    @abstractmethod
    def submit(self, cell: Cell) -> Handle:
        """Begin a cell. No more cells than workers may run."""

    @abstractmethod
    def events(self, timeout: float) -> list[tuple[Handle, Event]]:
        """What happened since the last call, in order; waits up to ``timeout`` seconds for something to happen.

        ``Ended`` or ``Died`` is the last event of a handle, and frees its worker.
        """

    @abstractmethod
    def release(self, handle: Handle) -> None:
        """Remove the files of a cell that has ended; the driver has recorded them."""

    @abstractmethod
    def close(self) -> None:
        """End all workers at once, whatever they do."""

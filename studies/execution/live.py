"""How far a running study is, in a small file that others may read: ``status.json`` in its folder."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrlora.studies.execution.executor import Handle
from lrlora.studies.execution.folder import write_whole
from lrlora.studies.execution.progress import describe
from lrlora.studies.spec.cells import Cell

STATUS_FILE = "status.json"
_WRITE_SECONDS = 0.5
_ENDED_KEPT = 20

Status = dict[str, Any]
"""``study``, ``cells``, ``resources``, ``counts`` by outcome, ``running`` (one for each worker), ``ended`` (this
command's last twenty, newest last), ``steps_per_second`` and ``seconds_left`` (None before anything is known), and
``written``."""


class LiveStatus:
    """Writes the file as the study goes on, twice a second at most.

    Args:
        path: Of the file.
        study: Name of the study.
        resources: What the workers are, in a sentence.
        cells: Cells of the study.
        counts: Cells that had ended before, by outcome.
        steps: Optimizer steps that are still to be made.
    """

    def __init__(
        self, path: Path, study: str, resources: str, cells: int, counts: Mapping[str, int], steps: int
    ) -> None:
        self._path, self._steps = path, steps
        self._head: dict[str, Any] = {"study": study, "resources": resources, "cells": cells}
        self._counts = dict(counts)
        self._running: dict[Handle, dict[str, Any]] = {}
        self._ended: deque[dict[str, str]] = deque(maxlen=_ENDED_KEPT)
        self._made = 0  # steps of cells that have ended in this command
        self._began = time.monotonic()
        self._written = 0.0

    def add(self, cell: Cell) -> None:
        """A cell was added to the study."""
        self._head["cells"] += 1
        self._steps += cell.variant.training.steps

    def begin(self, handle: Handle) -> None:
        """A cell was given to a worker."""
        cell = handle.cell
        self._running[handle] = {
            "worker": handle.worker,
            "pid": None,
            "host": "",
            "cell": cell.id,
            "label": cell.label,
            "step": 0,
            "steps": cell.variant.training.steps,
            "loss": None,
            "since": time.time(),
        }

    def started(self, handle: Handle) -> None:
        """Its process runs."""
        self._running[handle] |= {"pid": handle.pid, "host": handle.host}

    def step(self, handle: Handle, step: int, figures: Mapping[str, float | None]) -> None:
        """A step or a validation is over."""
        one = self._running[handle]
        one["step"] = step
        if "train/loss" in figures:
            one["loss"] = figures["train/loss"]

    def end(self, handle: Handle, record: Mapping[str, Any], final: bool) -> None:
        """A cell has ended, for good or to be tried again."""
        one = self._running.pop(handle)
        self._made += one["step"]
        self._steps -= one["steps"] if final else 0
        if final:
            self._counts[record["status"]] = self._counts.get(record["status"], 0) + 1
        self._ended.append({"cell": one["cell"], "label": one["label"], "outcome": describe(record)})

    def write(self, now: bool = False) -> None:
        """Write the file, unless that was done a moment ago. A disk that is full is no reason to end a study here."""
        if now or time.monotonic() - self._written >= _WRITE_SECONDS:
            with contextlib.suppress(OSError):
                write_whole(self._path, self.status())
            self._written = time.monotonic()

    def status(self) -> Status:
        """What the file says."""
        here = sum(one["step"] for one in self._running.values())
        seconds = time.monotonic() - self._began
        rate = (self._made + here) / seconds if self._made + here else None
        return self._head | {
            "counts": self._counts,
            "running": sorted(self._running.values(), key=lambda one: one["worker"]),
            "ended": list(self._ended),
            "steps_per_second": rate,
            "seconds_left": None if rate is None else max(0, self._steps - here) / rate,
            "written": time.time(),
        }

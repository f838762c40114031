"""The number of cells that run at the same time, and the threads and GPUs of each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.study import Study

_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia", "/dev/kfd", "/dev/dxg")
"""Device files: if none exists on Linux, PyTorch cannot use a GPU. The last is that of WSL."""


@dataclass(frozen=True)
class Execution:
    """How a study is run; nothing of it is part of the design.

    Attributes:
        workers: Cells at a time; None chooses by cores or GPUs.
        threads_per_cell: PyTorch's threads. Another number can change digits, so it never follows from ``workers``.
        gpus_per_cell: GPUs for each cell; None is one where there are any, and 0 trains on the CPU.
        cell_timeout: Seconds after which a cell is ended as failed; None: no limit.
        storage: URL of the Optuna store; None is ``optuna.db`` in the study's folder.
        executor: ``"local"`` for this machine, ``"ray"`` for a Ray cluster.
        address: Of the Ray cluster; None is one on this machine.
        tracking_uri: Address of the MLflow store; None is ``mlflow.db`` in the study's folder, and ``env`` what the
            shell's ``MLFLOW_TRACKING_URI`` says.
        reuse: Take cells that another study of the same store has finished.
        reuse_files: Files of records that cells are taken from, see :mod:`lrlora.studies.record.archive`.
        checkpoint_minutes: Time between the checkpoints of a cell, from which an interrupted one goes on.
    """

    workers: int | None = None
    threads_per_cell: int = 1
    gpus_per_cell: int | None = None
    cell_timeout: float | None = None
    storage: str | None = None
    executor: str = "local"
    address: str | None = None
    tracking_uri: str | None = None
    reuse: bool = True
    reuse_files: tuple[Path, ...] = ()
    checkpoint_minutes: float = 5.0

    @property
    def device(self) -> str | None:
        """The device of a cell, ``"cpu"`` or ``"cuda"``; None: ``"cuda"`` if this process can use a GPU."""
        if self.gpus_per_cell is None:
            return None
        return "cuda" if self.gpus_per_cell else "cpu"

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("threads_per_cell", 1), ("gpus_per_cell", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise StudyError(f"--{name.replace('_', '-')} {value}: a number of at least {least}")
        if self.cell_timeout is not None and not self.cell_timeout > 0:
            raise StudyError(f"--cell-timeout {self.cell_timeout:g}: a number of seconds above 0")
        if not self.checkpoint_minutes >= 0:
            raise StudyError(f"--checkpoint-minutes {self.checkpoint_minutes:g}: a number of at least 0")
        if self.executor not in ("local", "ray"):
            raise StudyError(f"--executor {self.executor}: local or ray")


@dataclass(frozen=True)
class Resources:
    """What was chosen.

    Attributes:
        workers: Cells at a time.
        threads: PyTorch's, in each.
        gpus: For each worker the value of ``CUDA_VISIBLE_DEVICES``; empty where there are no GPUs.
    """

    workers: int
    threads: int
    gpus: tuple[str, ...] = ()

    def __str__(self) -> str:
        each = f"{self.threads} thread{'s' * (self.threads != 1)}"
        if self.gpus and self.gpus[0]:
            each += f" and GPU {', GPU '.join(self.gpus)}" if self.workers == 1 else " and GPUs of its own"
        return f"{self.workers} worker{'s' * (self.workers != 1)} with {each}{' each' * (self.workers != 1)}"


def choose_resources(
    execution: Execution, study: Study, cells: int, count_gpus: Callable[[], int] | None = None
) -> Resources:
    """Returns how many cells run at a time, and on what.

    Args:
        execution: As asked for.
        study: If it compares times, one cell runs at a time by default.
        cells: That are to be run; no more workers than these.
        count_gpus: How many GPUs there are; by default PyTorch's number.

    Raises:
        StudyError: More GPUs are asked for than there are.
    """
    if execution.executor == "ray":  # which knows the cluster's room, and its GPUs
        return Resources(execution.workers or max(1, cells), execution.threads_per_cell)
    visible = _visible_gpus(count_gpus)
    per_cell = execution.gpus_per_cell if execution.gpus_per_cell is not None else min(1, len(visible))
    if per_cell == 0:
        room = cores() // execution.threads_per_cell
        workers = execution.workers or (1 if measures_time(study) else max(1, min(room, cells)))
        return Resources(workers, execution.threads_per_cell, ("",) * workers if visible else ())
    room = len(visible) // per_cell
    workers = execution.workers or min(max(1, room), max(1, cells))
    if workers > room:
        raise StudyError(
            f"--workers {workers} --gpus-per-cell {per_cell}: needs {workers * per_cell} GPUs, and {len(visible)} "
            f"{'is' if len(visible) == 1 else 'are'} visible"
        )
    groups = [visible[number * per_cell : (number + 1) * per_cell] for number in range(workers)]
    return Resources(workers, execution.threads_per_cell, tuple(",".join(group) for group in groups))


def measures_time(study: Study) -> bool:
    """Whether a study compares times, which other cells at the same time would change."""
    measured = [study.metric.name, *(str(getattr(claim, "metric", "")) for claim in study.claims)]
    return any("seconds" in name or "per_second" in name for name in measured)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _visible_gpus(count_gpus: Callable[[], int] | None) -> list[str]:
    count = (count_gpus or _count_gpus)()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]


def _count_gpus() -> int:
    """PyTorch's number. Without the driver of a GPU it is 0, and PyTorch is not imported, which takes seconds."""
    if sys.platform == "linux" and "torch" not in sys.modules and not any(map(os.path.exists, _DRIVERS)):
        return 0
    import torch

    return torch.cuda.device_count()

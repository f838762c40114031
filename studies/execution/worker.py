"""One cell in a process of its own: what the process does between its start and its end."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tqdm import tqdm

from lrlora.studies.execution.executor import Ended, Figures, Record, RunCell, Started, Step
from lrlora.studies.execution.plugged import Plugged
from lrlora.studies.record.run_record import RunRecord
from lrlora.studies.spec.cells import Cell

FILES = "files"
"""Within the folder of a cell: what it saves. ``temporary`` beside it is the worker's TMPDIR."""


@dataclass(frozen=True)
class Order:
    """What a worker is told.

    Attributes:
        cell: To run.
        folder: Where it may write; the driver removes it.
        log: The file that takes standard output and error.
        threads: PyTorch's.
        gpus: Value of ``CUDA_VISIBLE_DEVICES``; None leaves it as it is.
        plugged: To register.
        checkpoints: The folder of checkpoints.
        checkpoint_minutes: Time between them.
        run_cell: Trains the cell; None: :func:`lrlora.studies.training.loop.run_cell`.
    """

    cell: Cell
    folder: Path
    log: Path
    threads: int
    gpus: str | None
    plugged: Plugged
    checkpoints: Path
    checkpoint_minutes: float
    run_cell: RunCell | None = None


def work(order: Order, connection: Connection) -> None:
    """Run a cell and send what happens; the process ends with it.

    Args:
        order: What to do.
        connection: To the driver. The process ends as soon as the other end is closed.
    """
    # Ctrl-C reaches all processes of a terminal, and a scheduler's SIGTERM all of a job; the driver decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: None)  # no SIG_IGN, which programs that a method starts would keep
    _write_output_to(order.log)
    faulthandler.enable()
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1)
    threading.Thread(target=_end_with_driver, args=(connection,), daemon=True).start()
    limit_to(order.threads, order.gpus)
    temporary, files = order.folder / "temporary", order.folder / FILES
    for folder in (temporary, files):
        folder.mkdir(parents=True)
    tempfile.tempdir = str(temporary)
    # By default tqdm makes one for several processes, which at the end would be reported as leaked.
    tqdm.set_lock(threading.RLock())
    connection.send(Started(os.getpid(), socket.gethostname()))
    connection.send(Ended(_run(order, files, connection), files))
    sys.stdout.flush()
    sys.stderr.flush()
    # All is sent, and the driver removes what is left on disk: tearing down PyTorch would only cost time.
    os._exit(0)


def run_order(order: Order, files: Path, listen: Callable[[int, Figures], None]) -> Record:
    """Returns the record of a cell; a Python exception becomes the record of a failed cell.

    Args:
        order: What to do.
        files: Where the adapter is saved.
        listen: As for ``run_cell``.
    """
    from lrlora.studies.execution.quiet import quiet
    from lrlora.studies.training import loop
    from lrlora.studies.training.checkpoint import Checkpoints

    try:
        order.plugged.register()
        with quiet():
            if order.run_cell is not None:
                record = order.run_cell(order.cell, files, listen)
            else:
                checkpoints = Checkpoints(order.checkpoints, order.checkpoint_minutes)
                record = loop.run_cell(order.cell, files, listen, checkpoints)
        # Checked here, since what is no JSON is this cell's failure and not the driver's.
        return json.loads(json.dumps(record, allow_nan=False))
    except Exception:  # whatever a method or a task does wrong: one cell's failure is not the study's
        return RunRecord.of(order.cell, reason=traceback.format_exc()).plain()


def _run(order: Order, files: Path, connection: Connection) -> Record:
    def listen(step: int, figures: Figures) -> None:
        connection.send(Step(step, {name: None if value is None else float(value) for name, value in figures.items()}))

    return run_order(order, files, listen)


def _write_output_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(opened, 1)
    os.dup2(opened, 2)
    os.close(opened)
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115


def _end_with_driver(connection: Connection) -> None:
    # The driver sends nothing: data would be a mistake, and the end of the file means that it is gone.
    try:
        connection.poll(None)
    finally:
        os._exit(1)


def limit_to(threads: int, gpus: str | None) -> None:
    """Set threads and devices, before the first operation."""
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for processes that a method may start
    import torch

    torch.set_num_threads(threads)

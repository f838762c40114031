"""Workers on this machine: a process per cell, forked from a server process that has imported what a cell needs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from lrlora.studies.execution.executor import Died, Ended, Event, Executor, Handle, RunCell
from lrlora.studies.execution.plugged import plugged_in
from lrlora.studies.execution.worker import Order, work
from lrlora.studies.spec.cells import Cell

_PRELOADED = "lrlora.studies.execution.preloaded"
_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_JOIN_SECONDS = 10.0
_STACK_SECONDS = 0.3

_SIGNALS = {
    "SIGSEGV": "a segmentation fault",
    "SIGKILL": "which Linux sends where memory runs out",
    "SIGABRT": "an abort in native code",
}


@dataclass
class _Running:
    """A worker's process, and this end of the connection to it."""

    process: BaseProcess
    connection: Connection
    folder: Path
    log: Path
    deadline: float


class LocalExecutor(Executor):
    """Runs cells in processes of this machine.

    Args:
        folder: For the files of running cells; made, emptied and removed here.
        logs: For a file per cell with what it printed.
        workers: Processes at a time.
        threads: PyTorch's, in each.
        gpus: For each worker the value of ``CUDA_VISIBLE_DEVICES``; empty leaves it as it is.
        cell_timeout: Seconds after which a worker is killed; None: no limit.
        run_cell: Trains a cell; by default :func:`lrlora.studies.training.loop.run_cell`.
        checkpoints: The folder of checkpoints; by default below ``folder``, so that they end with this executor.
        checkpoint_minutes: Time between the checkpoints of a cell.
    """

    def __init__(
        self,
        folder: Path,
        logs: Path,
        workers: int = 1,
        threads: int = 1,
        gpus: Sequence[str] = (),
        cell_timeout: float | None = None,
        run_cell: RunCell | None = None,
        checkpoints: Path | None = None,
        checkpoint_minutes: float = 5.0,
    ) -> None:
        self.workers = workers
        self._folder, self._logs = folder, logs
        self._threads, self._gpus = threads, list(gpus)
        self._timeout, self._run_cell = cell_timeout, run_cell
        self._checkpoints, self._minutes = checkpoints or folder / "checkpoints", checkpoint_minutes
        self._plugged = plugged_in()
        self._running: dict[Handle, _Running] = {}
        self._ended: dict[Handle, _Running] = {}
        self._count = 0
        shutil.rmtree(folder, ignore_errors=True)  # what a driver left that was killed
        self._context = _context()

    def submit(self, cell: Cell) -> Handle:
        """See :meth:`Executor.submit`."""
        taken = {handle.worker for handle in self._running}
        worker = next(number for number in range(self.workers) if number not in taken)
        self._count += 1
        folder, log = self._folder / f"{self._count}-{cell.id}", self._logs / f"{cell.id}.log"
        gpus = self._gpus[worker] if self._gpus else None
        order = Order(
            cell, folder, log, self._threads, gpus, self._plugged, self._checkpoints, self._minutes, self._run_cell
        )
        here, there = self._context.Pipe()
        process: BaseProcess = self._context.Process(  # type: ignore[attr-defined]
            target=work, args=(order, there), name=f"lrlora-{cell.id}"
        )
        with _started_alone():
            process.start()
        there.close()  # so that the worker holds the only one, and its end is seen here
        handle = Handle(cell, worker)
        deadline = float("inf") if self._timeout is None else time.monotonic() + self._timeout
        self._running[handle] = _Running(process, here, folder, log, deadline)
        return handle

    def events(self, timeout: float) -> list[tuple[Handle, Event]]:
        """See :meth:`Executor.events`."""
        nearest = min((one.deadline for one in self._running.values()), default=float("inf"))
        ends: list[Any] = [one.connection for one in self._running.values()]
        ends += [one.process.sentinel for one in self._running.values()]
        ready = set(wait(ends, max(0.0, min(timeout, nearest - time.monotonic()))))
        found: list[tuple[Handle, Event]] = []
        for handle, one in list(self._running.items()):
            if one.connection in ready or one.process.sentinel in ready:
                found += [(handle, event) for event in self._read(one)]
            elif time.monotonic() >= one.deadline:
                found.append((handle, Died(_stopped(one, f"the limit of {self._timeout:g} s (--cell-timeout)"))))
            if found and found[-1][0] is handle and isinstance(found[-1][1], (Ended, Died)):
                self._ended[handle] = self._running.pop(handle)
        return found

    def release(self, handle: Handle) -> None:
        """See :meth:`Executor.release`."""
        one = self._ended.pop(handle)
        _end(one)
        with contextlib.suppress(OSError):
            if one.log.stat().st_size == 0:
                one.log.unlink()

    def close(self) -> None:
        """See :meth:`Executor.close`."""
        for one in self._running.values():
            one.process.kill()
        for one in [*self._running.values(), *self._ended.values()]:
            _end(one)
        self._running.clear()
        self._ended.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._logs.rmdir()  # if it is empty

    def _read(self, one: _Running) -> Iterator[Event]:
        """The events that have come, up to the last one of the cell."""
        while True:
            try:
                # A dead worker's connection is read to its end; of a living one, what has come.
                if not one.connection.poll(0):
                    if one.process.is_alive():
                        return
                    if not one.connection.poll(0):
                        break
                event: Event = one.connection.recv()
            except (EOFError, OSError):
                break
            yield event
            if isinstance(event, Ended):
                return
        one.process.join(_JOIN_SECONDS)
        yield Died(_tail(one.log) + describe_exit(one.process.exitcode))


def warm_up() -> None:
    """Start the server process, which imports what cells need while this process goes on."""
    if _context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        with _started_alone():
            forkserver.ensure_running()


def describe_exit(code: int | None) -> str:
    """How a process ended, by its exit code as :mod:`multiprocessing` gives it.

    >>> describe_exit(-11)
    'the worker was ended by SIGSEGV, a segmentation fault'
    >>> describe_exit(3)
    'the worker ended with exit status 3'
    """
    if code is None:
        return "the worker closed its connection and did not end"
    if code >= 0:
        return f"the worker ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the worker was ended by {name}" + (f", {_SIGNALS[name]}" if name in _SIGNALS else "")


def _stopped(one: _Running, limit: str) -> str:
    """Kill a worker, and say where it was."""
    if hasattr(signal, "SIGUSR1") and one.process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.process.pid, signal.SIGUSR1)  # writes the stack to its log
        one.process.join(_STACK_SECONDS)
    one.process.kill()
    return f"{_tail(one.log)}it ran longer than {limit}"


def _end(one: _Running) -> None:
    one.process.join(_JOIN_SECONDS)
    if one.process.is_alive():
        one.process.kill()
        one.process.join()
    one.connection.close()
    shutil.rmtree(one.folder, ignore_errors=True)


def _tail(log: Path, lines: int = 30) -> str:
    """The end of what a worker printed, which for a crash is where it happened."""
    try:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        return ""
    return "".join(f"{line}\n" for line in said)


def _context() -> BaseContext:
    """A context whose processes are fresh: forkserver, or spawn where that does not exist."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])
    return context


@contextlib.contextmanager
def _started_alone() -> Iterator[None]:
    """For the start of a process: no thread pools in the server, and the user's script is not run again.

    multiprocessing imports ``__main__`` in each process, which runs a script without a guard once more. What is
    registered there goes to the workers by :func:`lrlora.studies.execution.plugged.plugged_in`. Ctrl-C, which a
    terminal sends to all processes, is blocked in the server: during its imports it would end it with a traceback.
    """
    main, before = sys.modules["__main__"], {name: os.environ.get(name) for name in _POOLS}
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ.update(dict.fromkeys(_POOLS, "1"))
    try:
        with _interruption_blocked():
            yield
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _interruption_blocked() -> Iterator[None]:
    """Block Ctrl-C here, to be heard afterwards, and for good in the processes that are started meanwhile."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # beforehand: where it starts its process, it ends the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

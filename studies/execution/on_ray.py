"""Workers on a Ray cluster: each cell is a task with its resources, in a process that ends with it.

Ray places the tasks, and tries one again whose process or node is lost. lrlora, and the files of plugins under the same
paths, have to be on every node; what a cell saves comes back through Ray's object store.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.executor import (
    Died,
    Ended,
    Event,
    Executor,
    Figures,
    Handle,
    Record,
    RunCell,
    Started,
    Step,
)
from lrlora.studies.execution.plugged import plugged_in
from lrlora.studies.execution.ray_cluster import connect
from lrlora.studies.execution.resources import Execution, Resources
from lrlora.studies.execution.worker import FILES, Order, limit_to, run_order
from lrlora.studies.record.run_record import RunRecord
from lrlora.studies.spec.cells import Cell
from lrlora.studies.spec.identity import changes, numeric_environment

_RETRIES = 1
"""How often Ray begins a task again whose process or node was lost."""


class RayExecutor(Executor):
    """Runs cells as tasks of a Ray cluster.

    Args:
        folder: For the files of cells that have ended.
        resources: Threads of each cell, and the most cells at a time; fewer where the cluster has no room for them.
        execution: With the address of the cluster; one on this machine is started where it says none. Ray chooses the
            GPUs.
        run_cell: Trains a cell; by default :func:`lrlora.studies.training.loop.run_cell`.
        checkpoints: The folder of checkpoints. A cell whose node was lost goes on from them if all nodes share it.

    Raises:
        StudyError: Ray is not installed, or there is no cluster at that address; one line.
    """

    def __init__(
        self,
        folder: Path,
        resources: Resources,
        execution: Execution,
        run_cell: RunCell | None = None,
        checkpoints: Path | None = None,
    ) -> None:
        self._ray, self._owns = connect(execution.address)
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._folder = folder
        self._checkpoints, self._minutes = checkpoints or folder / "checkpoints", execution.checkpoint_minutes
        there = self._ray.cluster_resources()
        gpus = execution.gpus_per_cell if execution.gpus_per_cell is not None else min(1, int(there.get("GPU", 0)))
        room = int(there["GPU"] // gpus) if gpus else int(there.get("CPU", 0) // resources.threads)
        if room == 0:
            raise StudyError(f"--executor ray: the cluster has no room for a cell of {resources.threads} CPUs")
        self.workers = min(resources.workers, room)
        self._threads, self._timeout = resources.threads, execution.cell_timeout
        self._plugged, self._run_cell = plugged_in(), run_cell
        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        self._queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})  # other nodes may be lost
        # A process per cell, as here: what one leaves in memory or on a device is not the next one's.
        self._task = self._ray.remote(max_calls=1, max_retries=_RETRIES)(_work)
        self._options = {"num_cpus": resources.threads, "num_gpus": gpus}
        self._began: dict[int, float] = {}
        self._running: dict[int, tuple[Handle, Any]] = {}
        self._count = 0
        shutil.rmtree(folder, ignore_errors=True)

    def submit(self, cell: Cell) -> Handle:
        """See :meth:`Executor.submit`."""
        taken = {handle.worker for handle, _ in self._running.values()}
        handle = Handle(cell, next(number for number in range(self.workers) if number not in taken))
        self._count += 1
        order = Order(
            cell,
            Path(),
            Path(),
            self._threads,
            None,
            self._plugged,
            self._checkpoints,
            self._minutes,
            self._run_cell,
        )
        reference = self._task.options(**self._options).remote(order, self._count, self._queue)
        self._running[self._count] = handle, reference
        return handle

    def events(self, timeout: float) -> list[tuple[Handle, Event]]:
        """See :meth:`Executor.events`."""
        references = [reference for _, reference in self._running.values()]
        ready, _ = self._ray.wait(references, timeout=timeout, fetch_local=True)
        found: list[tuple[Handle, Event]] = []
        for number, event in self._queue.get_nowait_batch(self._queue.qsize()):
            if number in self._running:
                found.append((self._running[number][0], event))
                if isinstance(event, Started):
                    self._began[number] = time.monotonic()  # the wait for a free node does not count
        for number, (handle, reference) in list(self._running.items()):
            if reference in ready:
                found.append((handle, self._last(reference, number)))
                del self._running[number]
            elif time.monotonic() - self._began.get(number, float("inf")) > (self._timeout or float("inf")):
                self._ray.cancel(reference, force=True)
                found.append((handle, Died(f"it ran longer than the limit of {self._timeout:g} s (--cell-timeout)")))
                del self._running[number]
        return found

    def release(self, handle: Handle) -> None:
        """See :meth:`Executor.release`."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """See :meth:`Executor.close`."""
        for _, reference in self._running.values():
            self._ray.cancel(reference, force=True)
        self._running.clear()
        self._queue.shutdown(force=True)
        if self._owns:
            self._ray.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _last(self, reference: Any, number: int) -> Event:
        try:
            record, packed = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            return Died(f"the worker ended: {' '.join(str(error).split())}")
        files = self._folder / str(number)
        files.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(files, filter="data")
        return Ended(record, files)


def _work(order: Order, number: int, queue: Any) -> tuple[Record, bytes]:
    """Run a cell in a process of Ray's; returns its record, and what it saved as a tar file."""
    limit_to(order.threads, None)
    queue.put((number, Started(os.getpid(), socket.gethostname())))

    def listen(step: int, figures: Figures) -> None:
        queue.put((number, Step(step, dict(figures))))

    with tempfile.TemporaryDirectory(prefix="lrlora-") as folder:
        files = Path(folder) / FILES
        files.mkdir()
        if other := _differences(order):  # its numbers would be recorded under the id of others
            reason = f"{socket.gethostname()} gives other numbers than the driver's machine: {', '.join(other)}"
            record = RunRecord.of(order.cell, reason=reason).plain()
        else:
            record = run_order(order, files, listen)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(files, arcname=".")
        return record, packed.getvalue()


def _differences(order: Order) -> list[str]:
    """By what this machine differs from the driver's, of what changes digits."""
    here = numeric_environment(order.threads)
    return changes({name: value for name, value in order.cell.parts.items() if name in here}, here)

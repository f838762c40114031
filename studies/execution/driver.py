"""The driver of a study: decides what runs next, gives cells to workers, and alone writes what they measure.

The order of writing carries the guarantees. A cell's MLflow run is finished before Optuna is told, and what counts as
done is what MLflow says. A driver that is killed leaves runs and trials that the next one closes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lrlora.studies.execution.executor import Died, Ended, Event, Executor, Handle, Record, RunCell, Started, Step
from lrlora.studies.execution.interruption import check_interruption, postponed_interruption
from lrlora.studies.execution.live import STATUS_FILE, LiveStatus
from lrlora.studies.execution.progress import StudyProgress
from lrlora.studies.execution.resources import Execution, choose_resources
from lrlora.studies.record.archive import Archive
from lrlora.studies.record.cell_run import CellRun
from lrlora.studies.record.outcomes import FINAL, outcome_of_record
from lrlora.studies.record.results import Results, write_study_file
from lrlora.studies.record.run_record import RunRecord
from lrlora.studies.record.taken import take_from_files
from lrlora.studies.record.tracking import Tracker, outcome_of
from lrlora.studies.record.versions import describe_earlier
from lrlora.studies.spec.cells import Cell, expand_cells
from lrlora.studies.spec.study import Study

if TYPE_CHECKING:
    from lrlora.studies.execution.deciding import Deciding, UntilDecided

ATTEMPTS = 2
"""How often one command tries a cell that ends in an unexpected error."""

WORK, LOGS, CHECKPOINTS = ".work", "logs", "checkpoints"
"""Within a study's folder: files of running cells, what workers print, and from where interrupted cells go on."""

_TICK_SECONDS = 0.5


@dataclass
class _Running:
    """A cell that a worker has: Optuna's id of its trial, its MLflow run, and whether that is finished."""

    trial: int
    run: CellRun
    recorded: bool = False


class Driver:
    """Runs the cells of one study that are missing. The caller holds the folder.

    Args:
        study: Resolved and checked.
        budget: What it was resolved for.
        out: The study's folder.
        console: Where progress is shown.
        execution: How many workers, and where.
        run_cell: As for :func:`run_study`.
        until: As for :func:`run_study`.
    """

    def __init__(
        self,
        study: Study,
        budget: str,
        out: Path,
        console: Console,
        execution: Execution,
        run_cell: RunCell | None = None,
        until: UntilDecided | None = None,
    ) -> None:
        from lrlora.studies.execution.queue import CellQueue, open_storage, store_name
        from lrlora.studies.record.environment import describe_environment

        self.study, self.budget, self.out, self.console = study, budget, out, console
        self._execution, self._run_cell = execution, run_cell
        self.attempts: Counter[str] = Counter()
        self.running: dict[Handle, _Running] = {}
        files = {file: Archive.read(file) for file in execution.reuse_files}
        self.tracker = Tracker.open(out, study.name, study.question, execution.tracking_uri)
        self.tracker.check_place()
        self.deciding = self._begin_deciding(until)
        self.cells = (
            expand_cells(study, execution.threads_per_cell, execution.device)
            if self.deciding is None
            else self.deciding.cells
        )
        self.done = self._take_over()
        if self.deciding is None:
            self._reuse(self.cells)
        taken, said = take_from_files(self.tracker, [one for one in self.cells if one.id not in self.done], files)
        for line in said:
            say(console, line)
        for cell, record in taken:
            self.done[cell.id] = record.plain()
            if self.deciding is not None:
                self.deciding.add(cell, self.done[cell.id])
        self._clear_checkpoints()
        missing = len(self.cells) - len(self.done)
        self.resources = choose_resources(execution, study, missing)
        self.environment = describe_environment() | {
            "threads": self.resources.threads,
            "workers": self.resources.workers,
        }
        if execution.device == "cpu":  # whatever GPU this machine has
            self.environment["device"] = "cpu"
        self._write_study_file()
        values = {cell: record["metrics"].get(study.metric.name) for cell, record in self.done.items()}
        storage = open_storage(out, execution.storage)
        name = store_name(study.name, out if execution.storage else None)
        sampler = None if self.deciding is None else self.deciding.sampler
        self.queue = CellQueue(storage, name, study.metric.direction, self.cells, values, sampler)

    def go(self) -> Results:
        """Run until no cell waits.

        Raises:
            KeyboardInterrupt: It was interrupted; the cells that ran have been given back.
        """
        self._ask_for_more()
        missing = self.queue.cells_waiting
        steps, cells = sum(cell.variant.training.steps for cell in missing), len(self.done) + len(missing)
        if missing and self.done:
            others = "others" if self.deciding is None else "next"
            say(self.console, f"{len(self.done)} of {cells} cells are done; going on with the {others}")
        counts = Counter(str(record["status"]) for record in self.done.values())
        if missing:
            with (
                contextlib.closing(self._executor()) as executor,
                StudyProgress(self.console, steps, cells, len(self.done)) as progress,
            ):
                resources = str(dataclasses.replace(self.resources, workers=executor.workers))
                progress.say(f"{'cells' if self.deciding else f'{len(missing)} cells'} on {resources}")
                live = LiveStatus(self.out / STATUS_FILE, self.study.name, resources, cells, counts, steps)
                try:
                    self._run_all(executor, progress, live)
                except BaseException:
                    with postponed_interruption():
                        self._give_back(executor)
                    raise
                finally:
                    (self.out / STATUS_FILE).unlink(missing_ok=True)
                    if self.deciding is not None:
                        self.deciding.write()
        if self.deciding is not None:
            say(self.console, self.deciding.conclude(self.queue.study))
        results = Results.load(self.out, tracker=self.tracker)
        ended = Counter(record["status"] for record in results.records)
        summary = {f"cells/{status}": float(ended[status]) for status in ("finished", "diverged", "failed")}
        self.tracker.finish_study(summary | {"cells/planned": float(results.planned)}, results.complete)
        return results

    def _executor(self) -> Executor:
        resources, execution = self.resources, self._execution
        if execution.executor == "ray":
            from lrlora.studies.execution.on_ray import RayExecutor

            return RayExecutor(self.out / WORK, resources, execution, self._run_cell, self.out / CHECKPOINTS)
        from lrlora.studies.execution.local import LocalExecutor

        return LocalExecutor(
            self.out / WORK,
            self.out / LOGS,
            workers=resources.workers,
            threads=resources.threads,
            gpus=resources.gpus,
            cell_timeout=execution.cell_timeout,
            run_cell=self._run_cell,
            checkpoints=self.out / CHECKPOINTS,
            checkpoint_minutes=execution.checkpoint_minutes,
        )

    def _run_all(self, executor: Executor, progress: StudyProgress, live: LiveStatus) -> None:
        while True:
            while len(self.running) < executor.workers and (self.queue.waiting or self._ask_for_more(progress, live)):
                with postponed_interruption():
                    self._start(executor, progress, live)
            live.write()
            if not self.running:
                return
            check_interruption()
            events = executor.events(_TICK_SECONDS)
            with postponed_interruption():  # what has come is written, all of it
                for handle, event in events:
                    self._take(handle, event, executor, progress, live)

    def _begin_deciding(self, until: UntilDecided | None) -> Deciding | None:
        if until is None:
            return None
        from lrlora.studies.execution.deciding import Deciding

        return Deciding(self.study, until, self.out, self._execution, self.tracker)

    def _ask_for_more(self, progress: StudyProgress | None = None, live: LiveStatus | None = None) -> bool:
        """Enqueue the cells of the next run, if the study goes on until its claims are decided; False without one."""
        while self.deciding is not None and (cells := self.deciding.next_cells(self.queue.study)):
            self._write_study_file()
            for cell in self._reuse(cells):
                self.queue.record(cell, self.done[cell.id]["metrics"].get(self.study.metric.name))
                self.deciding.add(cell, self.done[cell.id])
            missing = [cell for cell in cells if cell.id not in self.done]
            for cell in missing:
                self.queue.enqueue(cell)
                if progress is not None and live is not None:
                    progress.add(cell)
                    live.add(cell)
            if missing:
                return True
        return False

    def _write_study_file(self) -> None:
        study, cells = (self.study, self.cells) if self.deciding is None else self.deciding.so_far()
        write_study_file(self.out, study, self.budget, self.environment, cells)

    def _start(self, executor: Executor, progress: StudyProgress, live: LiveStatus) -> None:
        cell, trial = self.queue.ask()
        self.attempts[cell.id] += 1
        run = self.tracker.start_cell(cell, self.environment)
        handle = executor.submit(cell)
        self.running[handle] = _Running(trial, run)
        progress.begin(cell, f"worker {handle.worker + 1}" if executor.workers > 1 else "")
        live.begin(handle)

    def _take(
        self, handle: Handle, event: Event, executor: Executor, progress: StudyProgress, live: LiveStatus
    ) -> None:
        match event:
            case Started(pid, host):
                if handle.pid is not None:  # begun again on another node: its steps come again
                    self.running[handle].run = self.tracker.start_cell(handle.cell, self.environment)
                handle.pid, handle.host = pid, host
                live.started(handle)
            case Step(step, figures):
                self.running[handle].run.log_step(step, figures)
                progress.step(handle.cell, step, figures)
                live.step(handle, step, figures)
            case Ended(record, files):
                self._end(handle, record, files, executor, progress, live)
            case Died(reason):
                record = RunRecord.of(handle.cell, reason=reason).plain()
                record["duration_seconds"] = time.monotonic() - handle.submitted
                with tempfile.TemporaryDirectory(prefix="lrlora-") as nothing:
                    self._end(handle, record, Path(nothing), executor, progress, live)

    def _end(
        self,
        handle: Handle,
        record: Record,
        files: Path,
        executor: Executor,
        progress: StudyProgress,
        live: LiveStatus,
    ) -> None:
        cell, one = handle.cell, self.running[handle]
        outcome = outcome_of_record(record)
        final = outcome in FINAL or self.attempts[cell.id] >= ATTEMPTS
        record["mlflow_run_id"] = one.run.run_id
        one.run.finish(record, outcome, files)
        one.recorded = True
        self.queue.tell(one.trial, record["metrics"].get(self.study.metric.name), outcome)
        del self.running[handle]
        executor.release(handle)
        if final:
            from lrlora.studies.training.checkpoint import Checkpoints

            Checkpoints(self.out / CHECKPOINTS).clear(cell.id)
            if self.deciding is not None:
                self.deciding.add(cell, record)
                self.deciding.write()
        else:
            self.queue.enqueue(cell)
        progress.end(cell, record, final)
        live.end(handle, record, final)

    def _give_back(self, executor: Executor) -> None:
        """Close the runs of the cells that run; the next command runs them again."""
        executor.close()
        for one in self.running.values():
            if one.recorded:
                continue
            with contextlib.suppress(Exception):  # what cannot be written now, the next driver closes
                one.run.kill()
                self.queue.tell(one.trial, None, "interrupted")

    def _take_over(self) -> dict[str, Record]:
        """The records of the cells that are done; and the runs that a dead driver left are closed."""
        recorded: dict[str, Record] = {}
        done: dict[str, Record] = {}
        for cell, run in self.tracker.cell_runs().items():
            outcome = outcome_of(run)
            record = self.tracker.read_result(run) if outcome is not None else None
            if record is None:
                self.tracker.close_stale(run)
                continue
            recorded[cell] = record
            if outcome in FINAL:
                done[cell] = record
        for line in describe_earlier(self.cells, recorded):
            say(self.console, line)
        if self.deciding is not None:
            for one in self.cells:
                if one.id in done:
                    self.deciding.add(one, done[one.id])
        return {cell.id: done[cell.id] for cell in self.cells if cell.id in done}

    def _clear_checkpoints(self) -> None:
        """Delete what a driver that died left of cells that are done."""
        left = {path.name.partition("-")[0] for path in (self.out / CHECKPOINTS).glob("*")} & self.done.keys()
        if left:
            from lrlora.studies.training.checkpoint import Checkpoints

            for cell in left:
                Checkpoints(self.out / CHECKPOINTS).clear(cell)

    def _reuse(self, cells: Sequence[Cell]) -> list[Cell]:
        """Take those of the missing cells that another study of the store has finished; returns them."""
        missing = {cell.id: cell for cell in cells if cell.id not in self.done} if self._execution.reuse else {}
        found = self.tracker.find_finished(missing) if missing else {}
        for cell, run in found.items():
            self.done[cell] = self.tracker.reuse(missing[cell], run).plain()
        if found:
            say(self.console, f"{len(found)} cells are taken from other studies of the store (--no-reuse runs them)")
        return [missing[cell] for cell in found]


def say(console: Console, line: str) -> None:
    """Print a line as it is."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)

"""The driver of a study: decides what runs next, gives cells to workers, and alone writes what they measure.

The order of writing carries the guarantees. A cell's MLflow run is finished before Optuna is told, and what counts as
done is what MLflow says. A driver that is killed leaves runs and trials that the next one closes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lrlora.studies.execution.executor import Died, Ended, Event, Executor, Handle, Record, RunCell, Started, Step
from lrlora.studies.execution.folder import hold
from lrlora.studies.execution.interruption import (
    check_interruption,
    interrupted_by_termination,
    postponed_interruption,
)
from lrlora.studies.execution.live import STATUS_FILE, LiveStatus
from lrlora.studies.execution.progress import StudyProgress
from lrlora.studies.execution.quiet import quiet
from lrlora.studies.execution.resources import Execution, choose_resources
from lrlora.studies.record.cell_run import CellRun
from lrlora.studies.record.outcomes import FINAL, outcome_of_record
from lrlora.studies.record.results import Results, write_study_file
from lrlora.studies.record.tracking import Tracker, outcome_of
from lrlora.studies.record.versions import describe_earlier
from lrlora.studies.spec.cells import Cell, expand_cells, expand_variants, name_of_settings
from lrlora.studies.spec.study import Study

if TYPE_CHECKING:
    from lrlora.studies.execution.deciding import Deciding, UntilDecided

ATTEMPTS = 2
"""How often one command tries a cell that ends in an unexpected error."""

WORK, LOGS, CHECKPOINTS = ".work", "logs", "checkpoints"
"""Within a study's folder: files of running cells, what workers print, and from where interrupted cells go on."""

_TICK_SECONDS = 0.5


def run_study(
    study: Study,
    budget: str,
    out: Path,
    console: Console | None = None,
    execution: Execution | None = None,
    run_cell: RunCell | None = None,
    until: UntilDecided | None = None,
) -> Results:
    """Run the missing cells of a study.

    Args:
        study: As declared.
        budget: One of its budgets.
        out: The study's folder; what it holds already is not run again.
        console: Where progress is shown; by default the terminal's standard error.
        execution: How many workers, and where.
        run_cell: Trains a cell in place of :func:`lrlora.studies.training.loop.run_cell`, and then neither data nor
            backbones are looked at.
        until: Add seeds until the claims are decided; None: run the seeds that are declared.

    Raises:
        ValueError, ImportError: The study cannot be run as it is written; nothing has been written.
        KeyboardInterrupt: It was interrupted, or sent SIGTERM; the running cells have been given back.
    """
    console, execution = console or Console(stderr=True), execution or Execution()
    resolved = study.resolve(budget)
    with interrupted_by_termination(), quiet(), hold(out, resolved, budget):
        _say(console, f"{study.name} at budget {budget} goes into {out}: checking the design")
        if execution.executor == "local":
            from lrlora.studies.execution.local import warm_up

            warm_up()
        with postponed_interruption():  # an exception amid the initialization of its C++ part would abort the process
            importlib.import_module("torch")
        from lrlora.studies.execution.checks import check_design, check_folder, check_inputs, with_tuned

        resolved = with_tuned(resolved, out)
        check_design(resolved)
        if until is not None:
            until.check(resolved)
        choose_resources(execution, resolved, cells=1)
        resolved = check_folder(out, resolved)
        if run_cell is None:
            check_inputs(resolved, lambda line: _say(console, line))
        missing = [variant.name for variant in expand_variants(resolved) if variant.name not in resolved.tuned]
        if resolved.tune is not None and missing:
            resolved = _tune(resolved, budget, out, console, execution, run_cell)
        return Driver(resolved, budget, out, console, execution, run_cell, until).go()


def _tune(
    study: Study, budget: str, out: Path, console: Console, execution: Execution, run_cell: RunCell | None
) -> Study:
    """Run the tuning stage; the study with what it chose. What was chosen before stays."""
    from lrlora.studies.execution.checks import check_folder
    from lrlora.studies.execution.tuning import FOLDER, choose, tuning_study
    from lrlora.studies.spec.tuning import describe_budget

    stage, folder = tuning_study(study, budget), out / FOLDER
    _say(console, describe_budget(study))
    with hold(folder, stage, budget):
        check_folder(folder, stage)
        results = Driver(stage, budget, folder, console, execution, run_cell).go()
    results.report()
    tuned = choose(study, results.records) | study.tuned
    for name, settings in tuned.items():
        _say(console, f"tuned: {name}: {name_of_settings(settings)}")
    return study.model_copy(update={"tuned": tuned})


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
        self.tracker = Tracker.open(out, study.name, study.question, execution.tracking_uri)
        self.tracker.check_place()
        self.deciding = self._begin_deciding(until)
        self.cells = expand_cells(study, execution.threads_per_cell) if self.deciding is None else self.deciding.cells
        self.done = self._take_over()
        if self.deciding is None:
            self._reuse(self.cells)
        self._clear_checkpoints()
        missing = len(self.cells) - len(self.done)
        self.resources = choose_resources(execution, study, missing)
        self.environment = describe_environment() | {
            "threads": self.resources.threads,
            "workers": self.resources.workers,
        }
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
            _say(self.console, f"{len(self.done)} of {cells} cells are done; going on with the {others}")
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
            _say(self.console, self.deciding.conclude(self.queue.study))
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

        return Deciding(self.study, until, self.out, self._execution.threads_per_cell, self.tracker)

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
                from lrlora.studies.training.loop import blank_record

                record = blank_record(handle.cell) | {"status": "failed", "reason": reason}
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
            _say(self.console, line)
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
            _say(self.console, f"{len(found)} cells are taken from other studies of the store (--no-reuse runs them)")
        return [missing[cell] for cell in found]


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)

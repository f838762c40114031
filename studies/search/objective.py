"""One trial: its runs, seed by seed, each recorded in MLflow and evaluated on the validation split."""

from __future__ import annotations

import contextlib
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from filelock import FileLock
from optuna import TrialPruned
from optuna.trial import Trial

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.executor import Died, Ended, Executor, Figures, Record, RunCell, Step
from lrlora.studies.execution.progress import StudyProgress
from lrlora.studies.record.outcomes import FINAL, outcome_of_record
from lrlora.studies.record.run_record import RunRecord
from lrlora.studies.record.tracking import CELL, CellRun, Tracker, outcome_of
from lrlora.studies.search.space import Settings
from lrlora.studies.search.subject import Subject
from lrlora.studies.search.trials import DEFAULT, INDEX, TrialFacts, TrialFailedError
from lrlora.studies.spec.cells import Cell

TRIAL = "lrlora.trial"
"""The tag of an MLflow run with the index of its trial."""

_TICK_SECONDS = 1.0

Watch = Callable[[int, float], None]
"""Takes a step and the metric on the validation split, and raises :class:`RunPrunedError` to end the run."""


class RunPrunedError(Exception):
    """The pruner has ended a run."""


@dataclass
class Objective:
    """Runs trials.

    Attributes:
        out: The folder of the search.
        tracker: Of its MLflow store.
        environment: Goes into the tags of each run.
        progress: The bars.
        metric: The metric that is optimised.
        pruner: Name of the pruner.
        run_cell: Trains a cell.
    """

    out: Path
    tracker: Tracker
    environment: Mapping[str, Any]
    progress: StudyProgress
    metric: str
    pruner: str
    run_cell: RunCell

    def __call__(self, trial: Trial, settings: Settings, subject: Subject) -> float:
        """Run a trial to its end and set its outcome: complete, pruned, diverged, out-of-memory, refused or failed.

        Runs that are recorded already are not repeated.

        Args:
            trial: Optuna's.
            settings: What is tried; those of the untuned variant if it is the default.
            subject: The variant.

        Returns:
            The metric, averaged over the runs.

        Raises:
            TrialPruned: It was pruned, or a run diverged or had no memory: such settings are bad, and that is how
                Optuna's sampler learns to avoid them.
            TrialFailedError: A run failed, or the method refused the settings.
            KeyboardInterrupt: The run that was interrupted is closed.
        """
        found = TrialFacts(trial.user_attrs[INDEX], settings)
        label, prunable = f", trial {found.number}", not trial.user_attrs.get(DEFAULT)

        def end(outcome: str, reason: str | None) -> None:
            found.outcome, found.reason = outcome, reason
            found.write(trial)
            raise TrialFailedError(reason) if outcome in ("refused", "failed") else TrialPruned(reason)

        def lags(value: float, step: int) -> bool:
            trial.report(value, step)
            return prunable and trial.should_prune()

        try:
            cells = subject.cells(settings if prunable else {}, label)
        except ValueError as error:  # a combination that the method does not take, though it takes each by itself
            self.progress.say(f"{subject.name}{label}: refused: {error}")
            end("refused", str(error))
        for index, cell in enumerate(cells):

            def watch(step: int, value: float, first: int = index * cell.variant.training.steps) -> None:
                # Later seeds go on where the first ended: a budget is one number, all steps of the trial so far.
                if self.pruner == "hyperband" and lags(mean([*found.values, value]), first + step):
                    raise RunPrunedError(step)

            record = self._record_of(cell, found.number, watch)
            found.seconds += record["duration_seconds"]
            found.runs.append(record["mlflow_run_id"])
            if record["status"] != "finished":
                end(outcome_of_record(record), str(record["reason"]))
            found.values.append(record["metrics"][self.metric])
            found.losses.append(record["metrics"]["loss"])
            if self.pruner == "wilcoxon" and lags(found.values[-1], index) and index < len(cells) - 1:
                done = f"after {index + 1} of {len(cells)} runs"
                self.progress.say(f"{subject.name}{label}: pruned {done}")
                end("pruned", f"worse than the best trial {done}")
        found.write(trial)
        return mean(found.values)

    def _record_of(self, cell: Cell, number: int, watch: Watch) -> Record:
        """The record of a run: a recorded one, or a new one."""
        with FileLock(self.out / "locks" / f"{cell.id}.lock", is_singleton=False):
            self.progress.begin(cell)
            record = self._recorded(cell)
            if record is None:
                record = self._run(cell, number, watch)
            elif record["status"] == "finished":
                try:
                    for point in record["validation"]:
                        if point.get(self.metric) is not None:
                            watch(point["step"], point[self.metric])
                except RunPrunedError as stop:
                    record |= _pruned(stop)
            self.progress.end(cell, record, final=True)
        return record

    def _recorded(self, cell: Cell) -> Record | None:
        """The record of a run that an earlier command, or another trial at the same settings, has made."""
        for run in self.tracker.client.search_runs([self.tracker.experiment], f"tags.`{CELL}` = '{cell.id}'"):
            if outcome_of(run) in FINAL and (record := self.tracker.read_result(run)) is not None:
                return record
        return None

    def _run(self, cell: Cell, number: int, watch: Watch) -> Record:
        run: CellRun | None = None
        losses: list[float | None] = []
        validation: list[dict[str, Any]] = []
        started = time.perf_counter()

        def listen(step: int, figures: Figures) -> None:
            assert run is not None
            run.log_step(step, figures)
            self.progress.step(cell, step, figures)
            if "train/loss" in figures:
                losses.append(figures["train/loss"])
            else:
                validation.append({"step": step} | {k.removeprefix("validation/"): v for k, v in figures.items()})
            value = figures.get(f"validation/{self.metric}")
            if value is not None:
                watch(step, value)

        # The adapters of trials are not kept: the study trains the chosen one anew.
        with tempfile.TemporaryDirectory(prefix="lrlora-") as files, tempfile.TemporaryDirectory() as nothing:
            try:
                run = self.tracker.start_cell(cell, self.environment)
                self.tracker.client.set_tag(run.run_id, TRIAL, str(number))
                try:
                    record = self.run_cell(cell, Path(files), listen)
                except RunPrunedError as stop:
                    record = RunRecord.of(cell, judged_on="validation", **_pruned(stop)).plain()
                    record |= {"train_loss": losses, "validation": validation}
                except StudyError:
                    raise
                except Exception:  # of a method or a task: the search goes on with the next trial
                    record = RunRecord.of(cell, reason=traceback.format_exc()).plain()
                record["mlflow_run_id"] = run.run_id
                record["duration_seconds"] = record["duration_seconds"] or time.perf_counter() - started
                # The outcome is written last: a run that is interrupted before that is run again.
                run.finish(record, outcome_of_record(record), Path(nothing))
            except KeyboardInterrupt:
                with contextlib.suppress(Exception):
                    if run is not None:
                        run.kill()
                raise
        return record


def run_in_worker(executor: Executor, cell: Cell, files: Path, listen: Callable[[int, Figures], None]) -> Record:
    """Run a cell in a fresh process, as the cells of studies are.

    Args:
        executor: With one worker.
        cell: The cell.
        files: Not used: what the worker saves is removed.
        listen: Takes steps and figures. The worker is ended if it raises.
    """
    handle = executor.submit(cell)
    try:
        while True:
            for _, event in executor.events(_TICK_SECONDS):
                match event:
                    case Step(step, figures):
                        listen(step, figures)
                    case Ended(record):
                        executor.release(handle)
                        return record
                    case Died(reason):
                        executor.release(handle)
                        return RunRecord.of(cell, reason=reason).plain()
    except BaseException:
        executor.close()
        raise


def _pruned(stop: RunPrunedError) -> Record:
    return {"status": "pruned", "reason": f"pruned at step {stop.args[0]}"}

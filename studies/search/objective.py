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
from lrlora.studies.record.tracking import CELL, Tracker, outcome_of
from lrlora.studies.search.space import Settings
from lrlora.studies.search.subject import Subject
from lrlora.studies.search.trials import INDEX, LOSSES, OUTCOME, REASON, RUNS, VALUES, TrialFailedError
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
        """Run a trial to its end and write its attributes, the outcome last: it says that the trial has ended.

        Runs that are recorded already are not repeated.

        Args:
            trial: Optuna's.
            settings: What is tried; not used by trial 0, the untuned variant.
            subject: The variant.

        Returns:
            The metric, averaged over the runs.

        Raises:
            TrialPruned: It was pruned, or a run diverged or had no memory: such settings are bad, and that is how
                Optuna's sampler learns to avoid them.
            TrialFailedError: A run failed, or the method refused the settings.
            KeyboardInterrupt: The run that was interrupted is closed.
        """
        records: list[Record] = []
        outcome, reason = self._run_all(trial, settings, subject, records)
        finished = [record["metrics"] for record in records if record["status"] == "finished"]
        values = [metrics[self.metric] for metrics in finished]
        trial.set_user_attr(VALUES, values)
        trial.set_user_attr(LOSSES, [metrics["loss"] for metrics in finished])
        trial.set_user_attr(RUNS, [record["mlflow_run_id"] for record in records])
        trial.set_user_attr(REASON, reason)
        trial.set_user_attr(OUTCOME, outcome)
        if outcome == "complete":
            return mean(values)
        raise TrialFailedError(reason) if outcome in ("refused", "failed") else TrialPruned(reason)

    def _run_all(
        self, trial: Trial, settings: Settings, subject: Subject, records: list[Record]
    ) -> tuple[str, str | None]:
        """Run the cells of a trial as far as it goes, append their records, and return its outcome and the reason."""
        number, values = trial.user_attrs[INDEX], list[float]()
        label = f", trial {number}"

        def lags(value: float, step: int) -> bool:
            trial.report(value, step)
            return number > 0 and trial.should_prune()

        try:
            cells = subject.cells(settings if number else {}, label)
        except ValueError as error:  # a combination that the method does not take, though it takes each by itself
            self.progress.say(f"{subject.name}{label}: refused: {error}")
            return "refused", str(error)
        for index, cell in enumerate(cells):

            def watch(step: int, value: float, first: int = index * cell.variant.training.steps) -> None:
                # Later seeds go on where the first ended: a budget is one number, all steps of the trial so far.
                if self.pruner == "hyperband" and lags(mean([*values, value]), first + step):
                    raise RunPrunedError(f"pruned at step {step}")

            record = self._record_of(cell, number, watch)
            records.append(record)
            if record["status"] != "finished":
                return outcome_of_record(record), str(record["reason"])
            values.append(record["metrics"][self.metric])
            if self.pruner == "wilcoxon" and lags(values[-1], index) and index < len(cells) - 1:
                done = f"after {index + 1} of {len(cells)} runs"
                self.progress.say(f"{subject.name}{label}: pruned {done}")
                return "pruned", f"worse than the best trial {done}"
        return "complete", None

    def _record_of(self, cell: Cell, trial: int, watch: Watch) -> Record:
        """Returns the record of a run: a recorded one, or that of a new run."""
        with FileLock(self.out / "locks" / f"{cell.id}.lock", is_singleton=False):
            self.progress.begin(cell)
            record = self._recorded(cell)
            if record is None:
                record = self._run(cell, trial, watch)
            elif record["status"] == "finished":
                try:
                    for point in record["validation"]:
                        if point.get(self.metric) is not None:
                            watch(point["step"], point[self.metric])
                except RunPrunedError as stop:
                    record |= {"status": "pruned", "reason": str(stop)}
            self.progress.end(cell, record, final=True)
        return record

    def _recorded(self, cell: Cell) -> Record | None:
        """Returns the record that an earlier command, or another trial at the same settings, has made; or None."""
        for run in self.tracker.client.search_runs([self.tracker.experiment], f"tags.`{CELL}` = '{cell.id}'"):
            if outcome_of(run) in FINAL and (record := self.tracker.read_result(run)) is not None:
                return record
        return None

    def _run(self, cell: Cell, trial: int, watch: Watch) -> Record:
        """Train a cell and record it."""
        losses: list[float | None] = []
        validation: list[dict[str, Any]] = []
        started = time.perf_counter()

        def listen(step: int, figures: Figures) -> None:
            run.log_step(step, figures)
            self.progress.step(cell, step, figures)
            if "train/loss" in figures:
                losses.append(figures["train/loss"])
            else:
                validation.append({"step": step} | {k.removeprefix("validation/"): v for k, v in figures.items()})
            if (value := figures.get(f"validation/{self.metric}")) is not None:
                watch(step, value)

        run = self.tracker.start_cell(cell, self.environment)
        self.tracker.client.set_tag(run.run_id, TRIAL, str(trial))
        # The adapters of trials are not kept: the study trains the chosen one anew.
        with tempfile.TemporaryDirectory(prefix="lrlora-") as files, tempfile.TemporaryDirectory() as nothing:
            try:
                record = self.run_cell(cell, Path(files), listen)
            except RunPrunedError as stop:
                record = RunRecord.of(cell, judged_on="validation", status="pruned", reason=str(stop)).plain()
                record |= {"train_loss": losses, "validation": validation}
            except StudyError:
                raise
            except Exception:  # of a method or a task: the search goes on with the next trial
                record = RunRecord.of(cell, reason=traceback.format_exc()).plain()
            except KeyboardInterrupt:
                with contextlib.suppress(Exception):
                    run.kill()
                raise
            record["mlflow_run_id"] = run.run_id
            record["duration_seconds"] = record["duration_seconds"] or time.perf_counter() - started
            # The outcome is written last: a run that is interrupted before that is run again.
            run.finish(record, outcome_of_record(record), Path(nothing))
        return record


def run_in_worker(executor: Executor, cell: Cell, files: Path, listen: Callable[[int, Figures], None]) -> Record:
    """Run a cell in a fresh process, as the cells of studies are.

    Args:
        executor: With one worker.
        cell: The cell.
        files: Not used: what the worker saves is removed.
        listen: Takes steps and figures. The worker is ended if it raises.
    """
    handle, record = executor.submit(cell), None
    try:
        while record is None:
            for _, event in executor.events(_TICK_SECONDS):
                match event:
                    case Step(step, figures):
                        listen(step, figures)
                    case Ended(found):
                        record = found
                    case Died(reason):
                        record = RunRecord.of(cell, reason=reason).plain()
    except BaseException:
        executor.close()
        raise
    executor.release(handle)
    return record

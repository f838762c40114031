"""One trial: its runs, seed by seed, each recorded in MLflow and evaluated on the validation split."""

from __future__ import annotations

import contextlib
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from filelock import FileLock
from optuna import TrialPruned
from optuna.trial import Trial

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.interruption import postponed_interruption
from lrlora.studies.execution.progress import StudyProgress
from lrlora.studies.record.outcomes import FINAL, outcome_of_record
from lrlora.studies.record.tracking import CELL, CellRun, Tracker, outcome_of
from lrlora.studies.search.space import Settings
from lrlora.studies.search.subject import Subject
from lrlora.studies.search.trials import DEFAULT, INDEX, OUTCOME, TrialFailedError
from lrlora.studies.spec.cells import Cell
from lrlora.studies.training.history import StepListener

TRIAL = "lrlora.trial"
"""The tag of an MLflow run with the index of its trial."""

Record = dict[str, Any]
RunCell = Callable[[Cell, Path, StepListener], Record]
"""What trains a cell: :func:`lrlora.studies.training.loop.run_cell`."""


class RunPrunedError(Exception):
    """The pruner has ended a run."""


@dataclass
class Place:
    """Where trials are recorded, and how progress is shown.

    Attributes:
        out: The folder of the search.
        tracker: Of its MLflow store.
        environment: Goes into the tags of each run.
        progress: The bars.
        metric: The metric that is optimised.
        pruner: Name of the pruner.
    """

    out: Path
    tracker: Tracker
    environment: Mapping[str, Any]
    progress: StudyProgress
    metric: str
    pruner: str


@dataclass
class TrialResults:
    """The runs of a trial so far."""

    values: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run_trial(trial: Trial, settings: Settings, subject: Subject, place: Place, run_cell: RunCell) -> float:
    """Run a trial to its end and set its outcome: complete, pruned, diverged, out-of-memory, refused or failed.

    Runs that are recorded already are not repeated.

    Args:
        trial: Optuna's.
        settings: What is tried; those of the untuned variant if it is the default.
        subject: The variant.
        place: Where it is recorded.
        run_cell: Trains a cell.

    Returns:
        The metric, averaged over the runs.

    Raises:
        TrialPruned: It was pruned, or a run diverged or had no memory: such settings are bad, and that is how Optuna's
            sampler learns to avoid them.
        TrialFailedError: A run failed, or the method refused the settings.
        KeyboardInterrupt: The run that was interrupted is closed.
    """
    found, name = TrialResults(), f"{subject.name}, trial {trial.user_attrs[INDEX]}"
    prunable = not trial.user_attrs.get(DEFAULT)

    def end(outcome: str, reason: str | None = None) -> None:
        facts = asdict(found) | {"settings": settings, DEFAULT: not prunable, "reason": reason, OUTCOME: outcome}
        for key, fact in facts.items():
            trial.set_user_attr(key, fact)
        if outcome in ("refused", "failed"):
            raise TrialFailedError(reason)
        if outcome != "complete":
            raise TrialPruned(reason)

    def lags(value: float, step: int) -> bool:
        trial.report(value, step)
        return prunable and trial.should_prune()

    try:
        cells = subject.cells(settings if prunable else {}, f", trial {trial.user_attrs[INDEX]}")
    except ValueError as error:  # a combination that the method does not take, though it takes each by itself
        place.progress.say(f"{name}: refused: {error}")
        end("refused", str(error))
    for index, cell in enumerate(cells):

        def watch(step: int, value: float, first: int = index * cell.variant.training.steps) -> None:
            # Later seeds go on where the first ended, so that a budget is one number: all steps of the trial so far.
            if place.pruner == "hyperband" and lags(mean([*found.values, value]), first + step):
                raise RunPrunedError(step)

        record = _record_of(cell, trial, place, watch, run_cell)
        found.seconds += record["duration_seconds"]
        found.runs.append(record["mlflow_run_id"])
        if record["status"] != "finished":
            end(outcome_of_record(record), str(record["reason"]))
        found.values.append(record["metrics"][place.metric])
        found.losses.append(record["metrics"]["loss"])
        if place.pruner == "wilcoxon" and lags(found.values[-1], index) and index < len(cells) - 1:
            done = f"after {index + 1} of {len(cells)} runs"
            place.progress.say(f"{name}: pruned {done}")
            end("pruned", f"worse than the best trial {done}")
    end("complete")
    return mean(found.values)


Watch = Callable[[int, float], None]
"""Takes a step and the metric on the validation split, and raises :class:`RunPrunedError` to end the run."""


def _record_of(cell: Cell, trial: Trial, place: Place, watch: Watch, run_cell: RunCell) -> Record:
    """The record of a run: a recorded one, or a new one."""
    with FileLock(place.out / "locks" / f"{cell.id}.lock", is_singleton=False):
        place.progress.begin(cell)
        record = _recorded(cell, place.tracker)
        if record is None:
            record = _run(cell, trial, place, watch, run_cell)
        elif record["status"] == "finished":
            try:
                for point in record["validation"]:
                    if point.get(place.metric) is not None:
                        watch(point["step"], point[place.metric])
            except RunPrunedError as stop:
                record |= {"status": "pruned", "reason": f"pruned at step {stop.args[0]}"}
        place.progress.end(cell, record, final=True)
    return record


def _recorded(cell: Cell, tracker: Tracker) -> Record | None:
    """The record of a run that an earlier command, or another trial at the same settings, has made."""
    for run in tracker.client.search_runs([tracker.experiment], f"tags.`{CELL}` = '{cell.id}'"):
        if outcome_of(run) in FINAL and (record := tracker.read_result(run)) is not None:
            return record
    return None


def _run(cell: Cell, trial: Trial, place: Place, watch: Watch, run_cell: RunCell) -> Record:
    from lrlora.studies.training.loop import blank_record

    run: CellRun | None = None
    losses: list[float | None] = []
    validation: list[dict[str, Any]] = []
    started = time.perf_counter()
    try:
        run = place.tracker.start_cell(cell, place.environment)
        place.tracker.client.set_tag(run.run_id, TRIAL, str(trial.user_attrs[INDEX]))
        log = run.log_step

        def listen(step: int, figures: Mapping[str, float | None]) -> None:
            log(step, figures)
            place.progress.step(cell, step, figures)
            if "train/loss" in figures:
                losses.append(figures["train/loss"])
            else:
                validation.append({"step": step} | {k.removeprefix("validation/"): v for k, v in figures.items()})
            value = figures.get(f"validation/{place.metric}")
            if value is not None:
                watch(step, value)

        with tempfile.TemporaryDirectory(prefix="lrlora-") as folder:
            try:
                record = run_cell(cell, Path(folder), listen)
            except RunPrunedError as stop:
                record = blank_record(cell) | {"status": "pruned", "judged_on": "validation"}
                record |= {"reason": f"pruned at step {stop.args[0]}", "train_loss": losses, "validation": validation}
            except StudyError:
                raise
            except Exception:  # of a method or a task: the search goes on with the next trial
                record = blank_record(cell) | {"status": "failed", "reason": traceback.format_exc()}
    except KeyboardInterrupt:
        with postponed_interruption(), contextlib.suppress(Exception):
            if run is not None:
                run.kill()
        raise
    record["mlflow_run_id"] = run.run_id
    record["duration_seconds"] = record["duration_seconds"] or time.perf_counter() - started
    # The adapters of trials are not kept: the study trains the chosen one anew.
    with tempfile.TemporaryDirectory(prefix="lrlora-") as nothing, postponed_interruption():
        run.finish(record, outcome_of_record(record), Path(nothing))
    return record

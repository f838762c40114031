"""One trial: its runs, seed by seed, each recorded in MLflow like a cell of a study, and judged on validation."""

from __future__ import annotations

import contextlib
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from filelock import FileLock
from optuna.trial import TrialState

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.interruption import postponed_interruption
from lrlora.studies.execution.progress import StudyProgress
from lrlora.studies.record.outcomes import FINAL, outcome_of_record
from lrlora.studies.record.tracking import CELL, CellRun, Tracker, outcome_of
from lrlora.studies.search.subject import Subject
from lrlora.studies.search.trials import Claim
from lrlora.studies.spec.cells import Cell
from lrlora.studies.training.history import StepListener

TRIAL = "lrlora.trial"
"""The tag of an MLflow run with the number of its trial."""

Record = dict[str, Any]
RunCell = Callable[[Cell, Path, StepListener], Record]
"""What trains a cell: :func:`lrlora.studies.training.loop.run_cell`."""


class GivenUpError(Exception):
    """The pruner has seen enough of a run."""


@dataclass
class Place:
    """Where trials are recorded, and how it is shown.

    Attributes:
        out: The folder of the search.
        tracker: Of its MLflow store.
        environment: Goes into the tags of each run.
        progress: The bars.
        metric: Name of the figure that counts.
        pruner: Name of the pruner.
    """

    out: Path
    tracker: Tracker
    environment: Mapping[str, Any]
    progress: StudyProgress
    metric: str
    pruner: str


@dataclass
class Found:
    """What is known of a trial so far."""

    values: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run_trial(claim: Claim, subject: Subject, place: Place, run_cell: RunCell) -> str:
    """Run a trial to its end and tell Optuna.

    A run that diverges, or has no memory, ends its trial: those settings are bad, and Optuna is told that the trial was
    pruned, which is how its sampler learns to avoid them. Runs that are recorded already are not repeated.

    Args:
        claim: The trial.
        subject: The variant.
        place: Where it is recorded.
        run_cell: Trains a cell.

    Returns:
        The outcome: complete, pruned, diverged, out-of-memory, refused or failed.

    Raises:
        KeyboardInterrupt: The run that was interrupted is closed, and the trial waits for the next command.
    """
    found = Found()
    facts: dict[str, Any] = {"settings": claim.settings, "default": claim.number == 0}

    def end(outcome: str, state: TrialState, reason: str | None = None) -> str:
        value = mean(found.values) if state == TrialState.COMPLETE else None
        facts.update(outcome=outcome, reason=reason, values=found.values, losses=found.losses, runs=found.runs)
        with postponed_interruption():
            claim.end(state, value, facts | {"seconds": found.seconds})
        return outcome

    try:
        try:
            cells = subject.cells({} if claim.number == 0 else claim.settings, f", trial {claim.number}")
        except ValueError as error:  # a combination that the method does not take, though it takes each by itself
            place.progress.say(f"{subject.name}, trial {claim.number}: refused: {error}")
            return end("refused", TrialState.FAIL, str(error))
        for index, cell in enumerate(cells):
            record = _record_of(cell, index, claim, found, place, run_cell)
            found.seconds += record["duration_seconds"]
            found.runs.append(record["mlflow_run_id"])
            if record["status"] != "finished":
                outcome = outcome_of_record(record)
                state = TrialState.FAIL if outcome == "failed" else TrialState.PRUNED
                return end(outcome, state, str(record["reason"]))
            found.values.append(record["metrics"][place.metric])
            found.losses.append(record["metrics"]["loss"])
            last = index == len(cells) - 1
            if place.pruner == "wilcoxon" and claim.report(found.values[-1], index) and not last:
                done = f"after {index + 1} of {len(cells)} runs"
                place.progress.say(f"{subject.name}, trial {claim.number}: given up {done}")
                return end("pruned", TrialState.PRUNED, f"worse than the best trial {done}")
        return end("complete", TrialState.COMPLETE)
    except BaseException:
        # An interruption, or an error of ours: the trial goes on in the next command.
        claim.leave()
        raise


def _record_of(cell: Cell, index: int, claim: Claim, found: Found, place: Place, run_cell: RunCell) -> Record:
    """The record of a run: what is there, or a new one."""
    steps = cell.variant.training.steps

    def watch(step: int, figures: Mapping[str, float | None]) -> None:
        value = figures.get(f"validation/{place.metric}")
        if place.pruner != "hyperband" or value is None:
            return
        # Later seeds go on where the first ended, so that a budget is one number: all steps of the trial so far.
        if claim.report(mean([*found.values, value]), index * steps + step):
            raise GivenUpError(step)

    with FileLock(place.out / "locks" / f"{cell.id}.lock", is_singleton=False):
        place.progress.begin(cell)
        record = _recorded(cell, place.tracker)
        if record is None:
            record = _run(cell, claim, place, watch, run_cell)
        elif record["status"] == "finished":
            try:
                for point in record["validation"]:
                    watch(point["step"], {f"validation/{name}": value for name, value in point.items()})
            except GivenUpError as stop:
                record |= {"status": "pruned", "reason": f"given up at step {stop.args[0]}"}
        place.progress.end(cell, record, final=True)
    return record


def _recorded(cell: Cell, tracker: Tracker) -> Record | None:
    """What an earlier command, or another trial at the same settings, has recorded of a run."""
    runs = tracker.client.search_runs([tracker.experiment], f"tags.`{CELL}` = '{cell.id}'")
    for run in runs:
        if outcome_of(run) in FINAL:
            record = tracker.read_result(run)
            if record is not None:
                return record
    return None


def _run(cell: Cell, claim: Claim, place: Place, watch: StepListener, run_cell: RunCell) -> Record:
    from lrlora.studies.training.loop import blank_record

    run: CellRun | None = None
    losses: list[float | None] = []
    validation: list[dict[str, Any]] = []
    started = time.perf_counter()
    try:
        run = place.tracker.start_cell(cell, place.environment)
        place.tracker.client.set_tag(run.run_id, TRIAL, str(claim.number))
        log = run.log_step

        def listen(step: int, figures: Mapping[str, float | None]) -> None:
            log(step, figures)
            place.progress.step(cell, step, figures)
            if "train/loss" in figures:
                losses.append(figures["train/loss"])
            else:
                validation.append({"step": step} | {k.removeprefix("validation/"): v for k, v in figures.items()})
            watch(step, figures)

        with tempfile.TemporaryDirectory(prefix="lrlora-") as folder:
            try:
                record = run_cell(cell, Path(folder), listen)
            except GivenUpError as stop:
                record = blank_record(cell) | {"status": "pruned", "judged_on": "validation"}
                record |= {"reason": f"given up at step {stop.args[0]}", "train_loss": losses, "validation": validation}
            except StudyError:
                raise
            except Exception:  # whatever a method or a task does wrong: one trial's failure is not the search's
                record = blank_record(cell) | {"status": "failed", "reason": traceback.format_exc()}
    except KeyboardInterrupt:
        with postponed_interruption(), contextlib.suppress(Exception):
            if run is not None:
                run.kill()
        raise
    record["mlflow_run_id"] = run.run_id
    record["duration_seconds"] = record["duration_seconds"] or time.perf_counter() - started
    # The adapters of a search are many, and none is wanted: the study trains the one that was chosen anew.
    with tempfile.TemporaryDirectory(prefix="lrlora-") as nothing, postponed_interruption():
        run.finish(record, outcome_of_record(record), Path(nothing))
    return record

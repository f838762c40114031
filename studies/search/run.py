"""Runs a search: trial by trial and variant by variant, until each has its number; safe to interrupt and to share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from rich.console import Console

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.checks import check_inputs
from lrlora.studies.execution.progress import StudyProgress
from lrlora.studies.execution.quiet import quiet
from lrlora.studies.record.environment import describe_environment
from lrlora.studies.record.tracking import Tracker
from lrlora.studies.search.declaration import Tune, check_tune_folder, write_tune_file
from lrlora.studies.search.objective import Place, RunCell, run_trial
from lrlora.studies.search.outcome import Outcome, load_outcome
from lrlora.studies.search.pruning import describe_pruner, make_pruner
from lrlora.studies.search.shared_storage import open_storage
from lrlora.studies.search.trials import Trials

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


def run_tune(
    tune: Tune, out: Path, timeout: float | None = None, console: Console | None = None, run_cell: RunCell | None = None
) -> Outcome:
    """Run what is missing of a search.

    The variants take turns, so that an interrupted search has given each about as much.

    Args:
        tune: From :func:`lrlora.studies.search.declaration.declare`.
        out: The folder of the search; what it holds already is not run again.
        timeout: Seconds after which no trial is begun; the one that runs is ended.
        console: Where progress is shown; by default the terminal's standard error.
        run_cell: Trains a cell; by default :func:`lrlora.studies.training.loop.run_cell`.

    Raises:
        ValueError, ImportError: The search cannot be run as it is declared; nothing has been written.
        KeyboardInterrupt: It was interrupted; the trial goes on in the next command.
    """
    console = console or Console(stderr=True)
    if timeout is not None and timeout <= 0:
        raise StudyError(f"--timeout {timeout:g}: a number of seconds above 0")
    content = check_tune_folder(out, tune)
    if run_cell is None:
        for subject in tune.subjects:
            check_inputs(subject.study, lambda line: _say(line, console))
        from lrlora.studies.training.loop import run_cell as train_cell

        run_cell = train_cell
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"--out {out}: cannot be made: {error.strerror}") from None
    # MLflow and Optuna each make their tables on first use, and two processes at it break both.
    with FileLock(out / ".setup.lock"):
        tracker = Tracker.open(out, tune.name, f"Settings of {tune.study.name}, searched on the validation split.")
        tracker.check_place()
        storage = open_storage(out)
        write_tune_file(out, check_tune_folder(out, tune) if (out / "tune.json").exists() else content)
        queues = _queues(tune, out, storage)
    per_trial, first = tune.runs_per_trial, tune.subjects[0].study.training
    _say(describe_pruner(tune.pruner, per_trial), console)
    done = sum(len(queue.ended()) for queue in queues)
    planned = sum(max(tune.trials, len(queue.study.get_trials(deepcopy=False))) for queue in queues)
    if done:
        _say(f"trials done: {done}; going on to {tune.trials} for each variant", console)
    began = time.monotonic()
    left = list(queues)
    with (
        quiet(),
        StudyProgress(
            console, max(planned - done, 0) * per_trial * first.steps, planned * per_trial, done * per_trial
        ) as progress,
    ):
        place = Place(out, tracker, describe_environment(), progress, tune.study.metric.name, tune.pruner)
        while left:
            for queue in list(left):
                if timeout is not None and time.monotonic() - began > timeout:
                    _say(f"the time is up after {timeout:g} s; the same command goes on", console)
                    left.clear()
                    break
                claim = queue.claim(tune.trials)
                if claim is None:
                    left.remove(queue)
                    continue
                run_trial(claim, queue.subject, place, run_cell)
    elsewhere = sum(queue.running_elsewhere() for queue in queues)
    if elsewhere:
        _say(f"{elsewhere} trials are being run by another process on {out}", console)
    outcome = load_outcome(out)
    counts = outcome.counts()
    complete = all(len(queue.ended()) >= tune.trials for queue in queues)
    tracker.finish_study({f"trials/{name}": float(count) for name, count in counts.items()}, complete)
    return outcome


def _queues(tune: Tune, out: Path, storage: RDBStorage) -> list[Trials]:
    training = tune.subjects[0].study.training
    pruner = make_pruner(tune.pruner, tune.runs_per_trial, training.steps, training.eval_every or training.steps)
    return [Trials(out, storage, subject, tune.study.metric.direction, pruner) for subject in tune.subjects]


def _say(line: str, console: Console) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)

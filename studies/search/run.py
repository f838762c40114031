"""Runs a search: trial by trial, interleaved over the variants; it can be interrupted, and shared by processes."""

from __future__ import annotations

import contextlib
import tempfile
import time
from functools import partial
from pathlib import Path

from filelock import FileLock
from rich.console import Console

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.checks import check_inputs
from lrlora.studies.execution.executor import RunCell
from lrlora.studies.execution.interruption import interrupted_by_termination
from lrlora.studies.execution.local import LocalExecutor
from lrlora.studies.execution.progress import StudyProgress
from lrlora.studies.execution.queue import make_store
from lrlora.studies.record.environment import describe_environment
from lrlora.studies.record.tracking import Tracker
from lrlora.studies.search.declaration import TUNE_FILE, Tune, check_tune_folder, write_tune_file
from lrlora.studies.search.objective import Objective, run_in_worker
from lrlora.studies.search.outcome import Outcome, load_outcome
from lrlora.studies.search.pruning import describe_pruner, make_pruner
from lrlora.studies.search.subject import THREADS
from lrlora.studies.search.trials import Trials, open_storage


@interrupted_by_termination()
def run_tune(
    tune: Tune, out: Path, timeout: float | None = None, console: Console | None = None, run_cell: RunCell | None = None
) -> Outcome:
    """Run what is missing of a search.

    The trials of the variants are interleaved, so that an interrupted search has given each about the same budget.

    Args:
        tune: From :func:`lrlora.studies.search.declaration.declare`.
        out: The folder of the search; what it holds already is not run again.
        timeout: Seconds after which no trial is begun; the one that runs goes to its end.
        console: Where progress is shown; by default the terminal's standard error.
        run_cell: Trains a cell, in this process; by default each is trained by a process of its own.

    Raises:
        ValueError, ImportError: The search cannot be run as it is declared; nothing has been written.
        KeyboardInterrupt: It was interrupted, or sent SIGTERM; the trial goes on in the next command.
    """
    console = console or Console(stderr=True)
    if timeout is not None and timeout <= 0:
        raise StudyError(f"--timeout {timeout:g}: a number of seconds above 0")
    content = check_tune_folder(out, tune)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    for subject in tune.subjects if run_cell is None else ():
        check_inputs(subject.study, say)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"--out {out}: cannot be made: {error.strerror}") from None
    # MLflow and Optuna each make their tables on first use, and two processes at it break both.
    with FileLock(out / ".setup.lock"):
        tracker = Tracker.open(out, tune.name, f"Settings of {tune.study.name}, searched on the validation split.")
        tracker.check_place()
        make_store(out.resolve() / "optuna.db")
        storage = open_storage(out)
        write_tune_file(out, check_tune_folder(out, tune) if (out / TUNE_FILE).exists() else content)
        runs, training = tune.runs_per_trial, tune.subjects[0].default.training
        pruner = make_pruner(tune.pruner, runs, training.steps, training.eval_every or training.steps)
        queues = [Trials(storage, subject, tune.study.metric.direction, pruner) for subject in tune.subjects]
        (out / "locks").mkdir(exist_ok=True)
    say(describe_pruner(tune.pruner, runs))
    done = sum(queue.ended() for queue in queues)
    planned = sum(max(tune.trials, len(queue.known())) for queue in queues)
    if done:
        say(f"trials done: {done}; going on to {tune.trials} for each variant")
    steps = max(planned - done, 0) * runs * training.steps
    began, left = time.monotonic(), list(queues)
    with contextlib.ExitStack() as stack:
        if run_cell is None:
            # A folder of its own for each process that shares the search: an executor empties the one it has.
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lrlora-")))
            executor = LocalExecutor(place / "work", place / "logs", threads=THREADS)
            run_cell = partial(run_in_worker, stack.enter_context(contextlib.closing(executor)))
        progress = stack.enter_context(StudyProgress(console, steps, planned * runs, done * runs))
        environment = describe_environment() | {"threads": THREADS, "workers": 1}
        run_trial = Objective(out, tracker, environment, progress, tune.study.metric.name, tune.pruner, run_cell)
        while left:
            queue = left.pop(0)
            if timeout is not None and time.monotonic() - began > timeout:
                say(f"the time is up after {timeout:g} s; the same command goes on")
                break
            if queue.run_next(tune.trials, partial(run_trial, subject=queue.subject)):
                left.append(queue)
    if running := sum(queue.running() for queue in queues):
        say(f"{running} trials are run by another process, or by one that was killed within two minutes")
    outcome = load_outcome(out)
    complete = all(queue.ended() >= tune.trials for queue in queues)
    tracker.finish_study({f"trials/{name}": float(count) for name, count in outcome.counts().items()}, complete)
    return outcome

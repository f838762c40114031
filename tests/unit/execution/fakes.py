"""Training that takes no time, and ends as it is told to; in a module of its own, as workers have to import it."""

from __future__ import annotations

import ctypes
import io
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from rich.console import Console

from lrlora.studies.execution.checks import check_folder
from lrlora.studies.execution.deciding import UntilDecided
from lrlora.studies.execution.driver import Driver
from lrlora.studies.execution.executor import RunCell
from lrlora.studies.execution.folder import hold
from lrlora.studies.execution.resources import Execution
from lrlora.studies.record.results import Results
from lrlora.studies.record.run_record import RunRecord
from lrlora.studies.spec.cells import Cell
from lrlora.studies.spec.study import Study

STEPS = 3


def study(ranks: int = 3, seeds: tuple[int, ...] = (1,), **changes: Any) -> Study:
    """Of a cell for each rank and seed."""
    plain: dict[str, Any] = {"name": "tiny", "base": {"method": "lora"}, "seeds": list(seeds), "reference": "r=1"}
    axes = {"r": list(range(1, ranks + 1))}
    training = {"steps": STEPS}
    return Study.from_dict(plain | {"axes": axes, "training": training, "budgets": {"smoke": {}}} | changes)


def training(notes: Path, acts: Mapping[str, str] | None = None, seconds: float = 0.0) -> RunCell:
    """What trains a cell, and leaves a note of each time that it did.

    Args:
        notes: A folder.
        acts: By variant, how its cells end: one of ``finish``, ``diverge``, ``raise``, ``segfault``, ``killed``,
            ``exit``, ``hang``, ``not json``; with ``once`` before it, only the first time.
        seconds: For each step.
    """
    return partial(_train, notes=notes, acts=dict(acts or {}), seconds=seconds)


def _train(
    cell: Cell, folder: Path, listen: Any, *, notes: Path, acts: Mapping[str, str], seconds: float
) -> dict[str, Any]:

    notes.mkdir(parents=True, exist_ok=True)
    first = not list(notes.glob(f"{cell.id}-*"))
    (notes / f"{cell.id}-{os.getpid()}-{time.time_ns()}").touch()
    act = acts.get(cell.variant.name, "finish")
    act = (act.removeprefix("once ") if first else "finish") if act.startswith("once ") else act
    losses = []
    for step in range(1, STEPS + 1):
        losses.append(1 / step)
        listen(step, {"train/loss": 1 / step, "train/grad_norm": None})
        time.sleep(seconds)
    if act == "raise":
        raise ValueError("this cell does not work")
    if act == "segfault":
        ctypes.string_at(0)
    if act == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "exit":
        os._exit(3)
    if act == "hang":
        time.sleep(600)
    (folder / "adapter.txt").write_text(cell.label)
    found: dict[str, Any] = {"status": "finished", "metrics": {"accuracy": 1 / cell.seed, "loss": 1.0}}
    if act == "diverge":
        found = {"status": "diverged", "diverged_at": STEPS, "reason": "the loss is not finite"}
    if act == "not json":
        found["metrics"] = {"accuracy": object()}
    return RunRecord.of(cell).plain() | found | {"train_loss": losses}


def drive(
    chosen: Study,
    out: Path,
    store: Path,
    run_cell: RunCell,
    console: Console | None = None,
    until: UntilDecided | None = None,
    **execution: Any,
) -> Results:
    """Run a study in a folder, whose MLflow store is copied, since making one takes seconds.

    Args:
        chosen: The study.
        out: Its folder.
        store: An empty ``mlflow.db``.
        run_cell: Trains a cell.
        console: Takes what is said.
        until: Add seeds until the claims are decided.
        **execution: Of :class:`Execution`; two workers, unless said otherwise.
    """
    resolved = chosen.resolve("smoke")
    with hold(out, resolved, "smoke"):
        if not (out / "mlflow.db").exists():
            shutil.copy(store, out / "partial").replace(out / "mlflow.db")
        chosen_execution = Execution(**{"workers": 2} | execution)
        console = console or Console(file=io.StringIO())
        resolved = check_folder(out, resolved)
        return Driver(resolved, "smoke", out, console, chosen_execution, run_cell, until).go()


def forked(run: Callable[[], object], says: Path | None = None) -> int:
    """Run something in a fork of this process, which has imported everything; returns the fork's process id.

    Args:
        run: What to run.
        says: A file for what it raises.
    """
    pid = os.fork()
    if pid == 0:
        try:
            # The server that forks workers is this process's child, and not the fork's; it serves both.
            forkserver._forkserver.ensure_running = forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
            run()
        except BaseException as error:
            if says is not None:
                says.write_text(str(error), "utf-8")
        finally:
            os._exit(0)
    return pid


def runs(out: Path) -> list[tuple[str, str, list[int]]]:
    """Of each MLflow run that is not deleted: its cell, its status, and the steps of its loss."""
    from lrlora.studies.record.tracking import CELL, open_client

    client = open_client(out)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return [
        (
            run.data.tags[CELL],
            run.info.status,
            [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")],
        )
        for run in client.search_runs([experiment.experiment_id], f"tags.`{CELL}` != ''")
    ]


def trials(out: Path) -> Counter[str]:
    """How many Optuna trials there are, by state."""
    import optuna

    url = f"sqlite:///{out / 'optuna.db'}"
    names = optuna.get_all_study_names(url)
    found = [trial for name in names for trial in optuna.load_study(study_name=name, storage=url).get_trials()]
    return Counter(trial.state.name for trial in found)


def notes_of(notes: Path) -> Counter[str]:
    """How often each cell was begun."""
    return Counter(path.name.partition("-")[0] for path in notes.iterdir())


def around(cell: Cell, folder: Path, listen: Any, *, levels: Mapping[str, float], noise: float) -> dict[str, Any]:
    """Measure an accuracy near the level of the variant: the seed says by how much it is off."""
    off = random.Random(f"{cell.variant.name} {cell.seed}").gauss(0, noise)
    listen(1, {"train/loss": 1.0})
    found = {"status": "finished", "metrics": {"accuracy": levels[cell.variant.name] + off, "loss": 1.0}}
    return RunRecord.of(cell, **found, duration_seconds=1.0).plain()


def look_up(cell: Cell, folder: Path, listen: Any, *, names: tuple[str, ...]) -> dict[str, Any]:
    """Count the bases of these names."""
    from lrlora.bases import BASES

    found = float(len([BASES.get(name) for name in names]))
    return RunRecord.of(cell).plain() | {"status": "finished", "metrics": {"accuracy": found}}


def count_threads(cell: Cell, folder: Path, listen: Any) -> dict[str, Any]:
    """Use PyTorch, say something, and tell the number of threads."""
    import torch

    torch.ones(500, 500) @ torch.ones(500, 500)
    print("a word of the method")
    listen(1, {"train/loss": torch.tensor(0.5)})
    return RunRecord.of(cell).plain() | {"status": "finished", "metrics": {"accuracy": torch.get_num_threads()}}

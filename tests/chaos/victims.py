"""Studies that are killed, how they are trained, and what must hold once they are complete."""

from __future__ import annotations

import random
import time
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from lrlora.studies.execution.executor import RunCell
from lrlora.studies.record.results import Results
from lrlora.studies.spec.cells import Cell
from lrlora.studies.spec.study import Study

STEPS = 5
_OF_ONE_RUN = {
    "duration_seconds",
    "step_seconds",
    "tokens_per_second",
    "peak_memory_bytes",
    "peak_memory_source",
    "mlflow_run_id",
    "provenance",
    "resumed_at",
}
"""Fields of a record that differ from run to run."""


def fake_study(cells: int) -> Study:
    """A study that :func:`fake_training` trains.

    Args:
        cells: A multiple of 8.
    """
    return Study.from_dict(
        {
            "name": "killed",
            "base": {"method": "lora"},
            "axes": {"r": list(range(1, 9))},
            "seeds": list(range(1, cells // 8 + 1)),
            "reference": "r=1",
            "training": {"steps": STEPS},
            "budgets": {"smoke": {}},
        }
    )


def real_study() -> Study:
    """A study of six cells, trained for real in a few seconds each."""
    return Study.from_dict(
        {
            "name": "killed",
            "task": "digits",
            "backbone": "digits-vit",
            "base": {"target_modules": ["q_proj", "v_proj"]},
            "variants": {"lora": {"method": "lora", "r": 4}, "lrlora": {"method": "lrlora", "r": 4}},
            "seeds": [1, 2, 3],
            "reference": "lora",
            "training": {"steps": 60, "eval_every": 30},
            "budgets": {"smoke": {}},
        }
    )


def fake_training(notes: Path, seconds: float = 0.0) -> RunCell:
    """Returns what trains a cell in no time, and leaves a note each time that it begins.

    Args:
        notes: A folder.
        seconds: Duration of each step.
    """
    return partial(_walk, notes=notes, seconds=seconds)


def _walk(cell: Cell, folder: Path, listen: Any, *, notes: Path, seconds: float) -> dict[str, Any]:
    from lrlora.studies.record.run_record import RunRecord

    notes.mkdir(parents=True, exist_ok=True)
    (notes / f"{cell.id}-{time.time_ns()}").touch()
    chance, losses = random.Random(cell.id), []
    for step in range(1, STEPS + 1):
        losses.append(chance.random())
        listen(step, {"train/loss": losses[-1]})
        time.sleep(seconds)
    (folder / "adapter.txt").write_text(cell.label)
    metrics = {"accuracy": chance.random(), "loss": losses[-1]}
    return RunRecord.of(cell).plain() | {"status": "finished", "metrics": metrics, "train_loss": losses}


def expected(study: Study, folder: Path, fake: bool) -> dict[str, dict[str, Any]]:
    """The records of an undisturbed run, by the cell's id, without the fields that differ from run to run.

    Args:
        study: To run.
        folder: Where; nothing has been run there.
        fake: Train it by :func:`fake_training`.
    """
    from lrlora.studies.execution.resources import Execution
    from lrlora.studies.execution.run import run_study

    training = fake_training(folder / "notes") if fake else None
    found = run_study(study, "smoke", folder / "undisturbed", _silent(), Execution(workers=2), training)
    return {record["cell"]: comparable(record) for record in found.records}


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """A record without the fields that differ from run to run."""
    return {name: value for name, value in record.items() if name not in _OF_ONE_RUN}


def resumptions(out: Path) -> int:
    """How often the cells of a completed study went on from a checkpoint."""
    return sum(len(record["resumed_at"]) for record in Results.load(out).records)


def check(out: Path, undisturbed: dict[str, dict[str, Any]]) -> list[str]:
    """What is wrong with a study that was killed and completed; nothing, if all is right.

    Args:
        out: Its folder.
        undisturbed: From :func:`expected`.
    """
    import optuna

    from lrlora.studies.record.tracking import CELL, Tracker

    results, wrong = Results.load(out), []
    found = {record["cell"]: record for record in results.records}
    if not results.complete or found.keys() != undisturbed.keys():
        wrong.append(f"{len(found)} of {len(undisturbed)} cells are recorded")
    wrong += [
        f"{cell}: {name} is not as undisturbed"
        for cell, record in found.items()
        for name, value in comparable(record).items()
        if value != undisturbed.get(cell, {}).get(name)
    ]
    tracker = Tracker.open(out, "killed", make=False)
    runs = [
        run
        for run in tracker.client.search_runs([tracker.experiment], max_results=5000)
        if run.data.tags.get(CELL) is not None
    ]
    times = Counter(run.data.tags[CELL] for run in runs)
    wrong += [f"{cell}: has {count} runs" for cell, count in times.items() if count != 1]
    wrong += [f"run {run.info.run_id}: is {run.info.status}" for run in runs if run.info.status != "FINISHED"]
    for run in runs:
        losses = found[run.data.tags[CELL]]["train_loss"]
        for name in run.data.metrics:
            history = tracker.client.get_metric_history(run.info.run_id, name)
            if not all(one.step < other.step for one, other in pairwise(history)):
                wrong.append(f"run {run.info.run_id}: {name} repeats a step")
            if name == "train/loss" and [(one.step, one.value) for one in history] != list(enumerate(losses, 1)):
                wrong.append(f"run {run.info.run_id}: the history of {name} is not the record's")
    url = f"sqlite:///{out / 'optuna.db'}"
    (name,) = optuna.get_all_study_names(url)
    trials = optuna.load_study(study_name=name, storage=url).get_trials(deepcopy=False)
    states = Counter(trial.state.name for trial in trials)
    if states["COMPLETE"] != len(undisturbed) or states["RUNNING"] or states["WAITING"]:
        wrong.append(f"Optuna has {dict(states)}")
    left = {path.name for path in out.rglob("*") if path.is_file() and "artifacts" not in path.parts}
    allowed = {".driver.lock", "mlflow.db", "optuna.db", "study.json", "tracking.json"}
    if left - allowed - {f"{cell}.log" for cell in undisturbed}:
        wrong.append(f"files are left: {sorted(left - allowed)}")
    return wrong


def _silent() -> Any:
    import io

    from rich.console import Console

    return Console(file=io.StringIO())

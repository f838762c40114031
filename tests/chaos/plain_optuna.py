"""What plain Optuna with MLflowCallback keeps of a grid under kill -9, beside which docs/RELIABILITY.md sets a study.

Needs ``optuna-integration``. ``python tests/chaos/plain_optuna.py --kills 20`` prints a table. Both stores are made
before the first kill, unless ``--from-scratch`` is given.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import mlflow  # noqa: E402  # these two warn when imported
import optuna  # noqa: E402

STEPS = 5
GRID = {"r": list(range(1, 9)), "seed": list(range(1, 7))}


def make_stores(folder: Path) -> None:
    """Make the tables of both libraries."""
    mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    optuna.storages.RDBStorage(f"sqlite:///{folder / 'optuna.db'}")


def drive(folder: Path) -> None:
    """Run the grid, or what is missing of it, as the documentation of both libraries shows it."""
    from optuna_integration import MLflowCallback

    callback = MLflowCallback(f"sqlite:///{folder / 'mlflow.db'}", metric_name="accuracy")

    @callback.track_in_mlflow()
    def objective(trial: optuna.Trial) -> float:
        rank, seed = trial.suggest_categorical("r", GRID["r"]), trial.suggest_categorical("seed", GRID["seed"])
        chance = random.Random(f"{rank} {seed}")
        for step in range(1, STEPS + 1):
            mlflow.log_metric("loss", chance.random(), step)
            time.sleep(0.03)
        return chance.random()

    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'optuna.db'}",
        study_name="plain",
        direction="maximize",
        sampler=optuna.samplers.GridSampler(GRID, seed=0),
        load_if_exists=True,
    )
    study.optimize(objective, callbacks=[callback])


def start(folder: Path, does: Callable[[Path], None] = drive) -> int:
    """Returns the process of the command, a fork of this one."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.chdir(folder)  # where MLflow puts artifacts
        does(folder)
        status = 0
    finally:
        os._exit(status)


def count(folder: Path) -> dict[str, int]:
    """Returns what is recorded."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment: Any = client.get_experiment_by_name("plain")
    runs = client.search_runs([experiment.experiment_id], max_results=5000)
    cells = Counter((run.data.params.get("r"), run.data.params.get("seed")) for run in runs if run.data.params)
    url = f"sqlite:///{folder / 'optuna.db'}"
    trials = optuna.load_study(study_name="plain", storage=url).get_trials(deepcopy=False)
    complete = Counter(tuple(trial.params.values()) for trial in trials if trial.state.name == "COMPLETE")
    histories = [client.get_metric_history(run.info.run_id, "loss") for run in runs]
    return {
        "cells of the grid": len(GRID["r"]) * len(GRID["seed"]),
        "cells that Optuna completed": len(complete),
        "of them more than once": sum(times > 1 for times in complete.values()),
        "trials that stay RUNNING": sum(trial.state.name == "RUNNING" for trial in trials),
        "MLflow runs": len(runs),
        "that stay RUNNING": sum(run.info.status == "RUNNING" for run in runs),
        "finished MLflow runs without parameters": sum(
            run.info.status == "FINISHED" and not run.data.params for run in runs
        ),
        "cells with more than one MLflow run": sum(times > 1 for times in cells.values()),
        "histories with a gap": sum([one.step for one in found] != list(range(1, STEPS + 1)) for found in histories),
    }


def main() -> None:
    """Kill the command so often, let it end, and print what it recorded."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, default=3.0, help="seconds between two kills")
    parser.add_argument("--from-scratch", action="store_true", help="kill while tables are made, too")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chance, kills = random.Random(0), 0
    with tempfile.TemporaryDirectory(prefix="lrlora-plain-") as name:
        folder = Path(name)
        if not asked.from_scratch:
            os.waitpid(start(folder, make_stores), 0)
        pid = start(folder)
        while kills < asked.kills:
            time.sleep(chance.uniform(0, asked.longest))
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended and status:
                print(f"after {kills} kills the command ends in an error, each time")
                return
            if ended:
                break
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kills += 1
            pid = start(folder)
        else:
            os.waitpid(pid, 0)
        print("| what | number |\n| --- | ---: |")
        for what, number in ({"kill -9": kills} | count(folder)).items():
            print(f"| {what} | {number} |")


if __name__ == "__main__":
    main()

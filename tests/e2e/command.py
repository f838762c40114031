"""Running the command line as a user does, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A test runner that was started in the background ignores Ctrl-C, and so would its children.
_START = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from lrlora.studies.cli import main; main()"
)


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start ``lrlora`` with its output in one pipe."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", _START, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Batches of eight gain nothing from a second thread, and spinning threads beside another process cost tenfold.
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@dataclass
class Ended:
    """What a command left: its exit status and what it printed."""

    status: int
    output: str


def run(*arguments: str, cwd: Path) -> Ended:
    """Run ``lrlora`` to its end."""
    process = start(*arguments, cwd=cwd)
    output, _ = process.communicate()
    return Ended(process.returncode, output)


def run_and_interrupt(*arguments: str, cwd: Path, after: str) -> Ended:
    """Run ``lrlora`` and press Ctrl-C once a line that holds ``after`` was printed."""
    process = start(*arguments, cwd=cwd)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if after in line:
            process.send_signal(signal.SIGINT)
            break
    rest, _ = process.communicate()
    return Ended(process.returncode, "".join(lines) + rest)


@dataclass
class Record:
    """What a study's stores hold, read without our own code."""

    statuses: Counter[str]
    finished: dict[str, str]
    """Run id by cell, of the runs that are finished."""
    steps: dict[str, list[int]]
    """Steps of the training loss by cell."""
    trials: Counter[str]
    results: list[dict[str, Any]]


def read_record(out: Path) -> Record:
    """Read the stores with MLflow's and Optuna's own clients."""
    script = """
import json, sys, optuna
from mlflow import MlflowClient
out = sys.argv[1]
optuna.logging.set_verbosity(optuna.logging.ERROR)
client = MlflowClient(f"sqlite:///{out}/mlflow.db")
(experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
runs = [r for r in client.search_runs([experiment.experiment_id]) if "lrlora.cell" in r.data.tags]
done = [r for r in runs if r.info.status == "FINISHED"]
steps = {}
for r in done:
    steps[r.data.tags["lrlora.cell"]] = [m.step for m in client.get_metric_history(r.info.run_id, "train/loss")]
(summary,) = optuna.get_all_study_summaries(f"sqlite:///{out}/optuna.db")
study = optuna.load_study(study_name=summary.study_name, storage=f"sqlite:///{out}/optuna.db")
json.dump({
    "statuses": [r.info.status for r in runs],
    "finished": [[r.data.tags["lrlora.cell"], r.info.run_id] for r in done],
    "steps": steps,
    "trials": [t.state.name for t in study.trials],
}, sys.stdout)
"""
    done = subprocess.run([sys.executable, "-c", script, str(out)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert len(dict(found["finished"])) == len(found["finished"]), "a cell has two finished runs"
    files = sorted(out.glob("artifacts/*/artifacts/result.json"))
    return Record(
        statuses=Counter(found["statuses"]),
        finished=dict(found["finished"]),
        steps=found["steps"],
        trials=Counter(found["trials"]),
        results=[json.loads(path.read_text()) for path in files],
    )

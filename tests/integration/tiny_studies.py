"""Studies of one cell on tiny models and generated data, a task of each kind."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from lrlora.studies.execution.checks import check_design, check_inputs
from lrlora.studies.spec.cells import Cell, expand_cells
from lrlora.studies.spec.study import Study
from lrlora.studies.training.checkpoint import Checkpoints
from lrlora.studies.training.loop import run_cell

WORDS = ["the", "of", "a", "rank", "basis", "layer", "grows", "falls", "learns", "holds", "wide", "narrow"]
TRAINING = {
    "steps": 4,
    "batch_size": 3,
    "max_length": 48,
    "eval_every": 2,
    "train_examples": 7,
    "validation_examples": 5,
    "test_examples": 4,
    "learning_rate": 1e-2,
}


def sentence(generator: random.Random) -> str:
    return " ".join(generator.choices(WORDS, k=8)) + "."


def write_tasks(folder: Path) -> dict[str, dict[str, Any]]:
    """Writes a task of each kind to files; returns how studies name them."""
    generator = random.Random(0)
    (folder / "text.txt").write_text("\n\n".join(sentence(generator) for _ in range(60)))
    rows = []
    for i in range(60):
        options = [f"option {i}", "or this one", "or that"]
        rows.append({"question": f"{sentence(generator)} {i}", "options": options, "answer": options[i % 3]})
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"{sentence(generator)} {i},{'ab'[i % 2]}\n" for i in range(60)]
    (folder / "classes.csv").write_text("text,label\n" + "".join(lines))
    return {
        "text": {"name": "text-files", "options": {"train": str(folder / "text.txt")}},
        "questions": {"name": "question-files", "options": {"train": str(folder / "questions.jsonl")}},
        "classes": {"name": "files", "options": {"train": str(folder / "classes.csv")}},
        "images": {"name": "digits", "options": {}},
    }


def study(
    task: dict[str, Any],
    backbone: str,
    metric: str = "loss",
    base: dict[str, Any] | None = None,
    **training: Any,
) -> Study:
    direction = "minimize" if metric in ("loss", "perplexity") else "maximize"
    return Study.from_dict(
        {
            "name": "tiny",
            "task": task,
            "backbone": backbone,
            "base": base or {"method": "lrlora", "r": 2},
            "seeds": [3],
            "metric": {"name": metric, "direction": direction},
            "training": {**TRAINING, **training},
        }
    )


def checked_cell(chosen: Study) -> Cell:
    check_design(chosen)
    check_inputs(chosen, print)
    (cell,) = expand_cells(chosen)
    return cell


def run(chosen: Study, folder: Path, checkpoints: Checkpoints | None = None) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return run_cell(checked_cell(chosen), folder, lambda step, metrics: None, checkpoints)

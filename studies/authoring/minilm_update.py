"""Makes the data of the task ``matrix-minilm``: a weight of MiniLM, and its update by full fine-tuning.

Run it as ``python -m lrlora.studies.authoring.minilm_update``; it takes some minutes and downloads the headlines. The
file is part of the package, so that the task needs neither. Another kind of processor gives other last digits.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from lrlora.studies.spec.cells import expand_cells
from lrlora.studies.spec.study import Study
from lrlora.studies.tasks.matrix_minilm import FILE, MODULE, SCALE

RUN = {
    "name": "minilm-update",
    "task": "sarcasm",
    "backbone": "minilm",
    "base": {"method": "full"},
    "seeds": [42],
    "training": {
        "learning_rate": 1e-4,
        "batch_size": 16,
        "steps": 300,
        "max_length": 32,
        "validation_examples": 256,
        "test_examples": 256,
    },
}
"""The run that makes the update: 4,800 headlines, a learning rate usual for full fine-tuning of small encoders."""


def make(file: Path) -> dict[str, float | None]:
    """Train, and write ``weight`` and ``update``, each ``(384, 384)`` in float16, the latter times ``SCALE``.

    Returns:
        The test metrics of the run.

    Raises:
        RuntimeError: If the run does not finish.
    """
    from transformers import AutoModelForSequenceClassification

    from lrlora.studies.models.backbones import load_model
    from lrlora.studies.training.encoding import task_of
    from lrlora.studies.training.loop import run_cell

    (cell,) = expand_cells(Study.from_dict(RUN))
    task_of(cell.task).prepare(print)
    with tempfile.TemporaryDirectory() as folder:
        record = run_cell(cell, Path(folder), lambda step, metrics: None)
        if record["status"] != "finished":
            raise RuntimeError(f"the run {record['status']}: {record['reason']}")
        trained = AutoModelForSequenceClassification.from_pretrained(folder)
    after = trained.get_submodule(MODULE).weight.detach().double().numpy()
    before = load_model("minilm", task_of(cell.task).labels).get_submodule(MODULE).weight.detach().double().numpy()
    np.savez_compressed(file, weight=before.astype(np.float16), update=(SCALE * (after - before)).astype(np.float16))
    metrics: dict[str, float | None] = record["metrics"]
    return metrics


if __name__ == "__main__":
    print(make(FILE))

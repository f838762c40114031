"""A change of the losses of a run needs a new ``TRAINING_VERSION``: cells of the old one are not reused then.

The last digits depend on the machine, so that losses are compared to four digits and a half. Where a change is meant,
raise the version in ``studies/spec/training_version.py``, and write the losses that the failing test shows to
``LOSSES``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_backbones import save_backbone

from lrlora.studies.spec.cells import expand_cells
from lrlora.studies.spec.study import Study
from lrlora.studies.spec.training_version import TRAINING_VERSION
from lrlora.studies.training.loop import run_cell

LOSSES: dict[int, dict[str, list[float]]] = {
    1: {
        "sinc": [0.6925186, 0.6938199, 0.6967298, 0.7310621, 0.701158, 0.6919783],
        "bspline": [0.6925186, 0.6938199, 0.6967298, 0.7308801, 0.7033294, 0.6912255],
        "lora": [0.6925186, 0.6938199, 0.6967298, 0.7308336, 0.7032776, 0.6912428],
    }
}
TRAINING = {"steps": 6, "batch_size": 4, "max_length": 16, "learning_rate": 5e-2, "scheduler": "cosine"}


def test_the_losses_are_those_of_the_training_version(tmp_path: Path) -> None:
    rows = [f"number {i} of {i * i % 17},{'ab'[i % 2]}\n" for i in range(40)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(rows))
    study = Study.from_dict(
        {
            "name": "pinned",
            "task": {"name": "files", "train": str(tmp_path / "rows.csv")},
            "backbone": save_backbone("bert", tmp_path / "bert"),
            "base": {"method": "lrlora", "r": 2, "target_modules": ["query", "value"], "preset": "identity"},
            "axes": {"basis": ["sinc", "bspline"]},
            "baselines": {"lora": {"method": "lora", "r": 2, "target_modules": ["query", "value"]}},
            "seeds": [1],
            "training": TRAINING,
        }
    )
    found = {}
    for cell in expand_cells(study):
        folder = tmp_path / cell.variant.name
        folder.mkdir()
        found[cell.variant.name] = run_cell(cell, folder, lambda step, figures: None)["train_loss"]
    assert found == {name: pytest.approx(losses, rel=3e-5) for name, losses in LOSSES[TRAINING_VERSION].items()}

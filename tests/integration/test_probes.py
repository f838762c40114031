"""Probes as studies: what is reached is what theory says, and the same bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.checks import check_design, check_inputs
from lrlora.studies.spec.cells import expand_cells
from lrlora.studies.spec.study import Study
from lrlora.studies.training.loop import run_cell

LORA = {"method": "lora", "r": 2, "lora_alpha": 2, "placement": "mlp"}
LRLORA = {"method": "lrlora", "r": 2, "lora_alpha": 2, "placement": "mlp"}
SMALL = {"name": "matrix-power-law", "size": 16}
BACKBONE = {"matrix": "linear", "planted": "residual-mlp", "random-labels": "residual-mlp"}
METRIC = {"matrix": ("svd_ratio", "minimize"), "planted": ("rank_correlation", "maximize")}


def probe(task: Any, base: dict[str, Any], backbone: str | None = None, **training: Any) -> Study:
    name = task if isinstance(task, str) else task["name"]
    kind = "matrix" if name.startswith("matrix") else name
    metric, direction = METRIC.get(kind, ("memorised", "maximize"))
    return Study.from_dict(
        {
            "name": "probe",
            "task": task,
            "backbone": backbone or BACKBONE[kind],
            "base": base,
            "seeds": [3],
            "metric": {"name": metric, "direction": direction},
            "training": {"steps": 40, "batch_size": 512, "learning_rate": 1e-3, "max_grad_norm": 0, **training},
        }
    )


def run(study: Study, folder: Path) -> dict[str, Any]:
    check_design(study)
    check_inputs(study, print)
    (cell,) = expand_cells(study)
    folder.mkdir(exist_ok=True)
    record = run_cell(cell, folder, lambda step, metrics: None)
    assert record["status"] == "finished", record["reason"]
    return record


def test_lora_from_the_svd_stays_at_the_bound_and_full_fine_tuning_goes_to_zero(tmp_path: Path) -> None:
    lora = run(probe(SMALL, LORA, start="svd"), tmp_path)["metrics"]["svd_ratio"]
    assert lora == pytest.approx(1, abs=1e-3)
    full = run(probe(SMALL, {"method": "full"}, steps=300, learning_rate=2e-3), tmp_path)["metrics"]
    assert full["relative_error"] < 1e-2
    assert full["svd_ratio"] < 2e-2


def test_phi_fits_a_flat_spectrum_better_than_any_matrix_of_as_many_parameters(tmp_path: Path) -> None:
    chosen = LRLORA | {"num_grid_points": 8, "transfer_lr_scale": 1.0}
    task = {"name": "matrix-flat", "size": 64}
    record = run(probe(task, chosen, start="svd", steps=150, learning_rate=4e-3), tmp_path)
    assert record["metrics"]["svd_ratio"] < 0.99
    assert record["layers"][0]["stable_rank"] > 2
    assert record["layers"][0]["target_stable_rank"] == pytest.approx(64, rel=1e-3)


@pytest.mark.parametrize("task", [SMALL, "planted", {"name": "random-labels", "examples": 64}])
def test_a_probe_is_the_same_bit_by_bit(task: Any, tmp_path: Path) -> None:
    first, second = (run(probe(task, LRLORA, steps=4), tmp_path) for _ in range(2))
    for key in ("metrics", "train_loss", "layers"):
        assert first[key] == second[key]


def test_planted_ranks_are_in_the_record_of_each_layer(tmp_path: Path) -> None:
    record = run(probe("planted", LORA, steps=4), tmp_path)
    assert sorted(layer["target_stable_rank"] for layer in record["layers"]) == pytest.approx(
        [1, 2, 3, 4, 6, 8, 12, 16]
    )
    assert -1 <= record["metrics"]["rank_correlation"] <= 1


def test_full_fine_tuning_memorises_what_it_is_given(tmp_path: Path) -> None:
    task = {"name": "random-labels", "examples": 64}
    record = run(probe(task, {"method": "full"}, steps=60, learning_rate=2e-3), tmp_path)
    assert record["metrics"]["memorised"] == 64
    assert record["train_metrics"] == record["metrics"]
    none = run(probe(task, LORA, steps=1, learning_rate=1e-9), tmp_path)
    assert none["metrics"]["memorised"] < 20


@pytest.mark.parametrize(
    ("study", "says"),
    [
        (probe(SMALL, {"method": "vera", "placement": "mlp"}, start="svd"), "training.start=svd is for lora, rslora"),
        (probe(SMALL, {"method": "pissa", "placement": "mlp"}, start="svd"), "adalora, lrlora, not for method pissa"),
        (
            probe("random-labels", LORA, start="svd"),
            "training.start=svd is for matrix and planted tasks, not for capacity",
        ),
        (probe("random-labels", LORA, train_examples=9), "training.train_examples=9: capacity tasks take all examples"),
        (probe("random-labels", LORA, backbone="linear"), "takes vectors of 128 numbers, and capacity tasks give 64"),
        (probe("planted", LORA, backbone="linear"), "has 1 layers of width 128, and task planted has 8 ranks"),
        (probe(SMALL, LORA, backbone="residual-mlp"), "has 8 layers, and matrix tasks fit one; take linear"),
        (
            probe(SMALL, LORA, backbone="digits-vit"),
            "takes images, and matrix tasks give vectors; take for example linear",
        ),
        (probe(SMALL, LORA, tokens=5), "training.tokens=5 has no effect on matrix tasks"),
        (probe(SMALL, LORA, dtype="bfloat16"), "training.dtype=bfloat16: backbone 'linear' is drawn in float32"),
        (probe(SMALL, {"method": "frozen"}), "has no head called classifier or score"),
    ],
    ids=[
        "vera",
        "pissa",
        "no updates",
        "few examples",
        "linear",
        "ranks",
        "mlp",
        "images",
        "tokens",
        "dtype",
        "frozen",
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(study: Study, says: str) -> None:
    check_design(study)
    with pytest.raises(StudyError) as caught:
        check_inputs(study, print)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)

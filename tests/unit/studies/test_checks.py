"""What is looked at before a folder is written to, and how outcomes are told apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.checks import check_folder
from lrlora.studies.execution.cost import estimate_seconds
from lrlora.studies.record.results import Results, write_study_file
from lrlora.studies.spec.cells import expand_cells
from lrlora.studies.spec.study import Study
from lrlora.studies.training.history import StepRecorder, split_metrics


def study(**changes: Any) -> Study:
    plain: dict[str, Any] = {"name": "tiny", "base": {"method": "lora"}, "axes": {"r": [1, 2]}, "seeds": [1, 2]}
    return Study.from_dict(plain | changes)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_study_file(tmp_path, study(), "smoke", {"python": "3"})
    (tmp_path / "mlflow.db").write_text("something is recorded")
    return tmp_path


def test_an_empty_folder_and_the_same_study_are_fine(tmp_path: Path, out: Path) -> None:
    assert check_folder(tmp_path / "new", study()) == study()
    assert check_folder(out, study()) == study()


def test_a_study_that_goes_on_still_says_how_it_was_given(out: Path) -> None:
    """Or the report of a resumed run prints a command that runs another study."""
    given = Study.load("basis", {"backbone": "smollm2"}).resolve("quick")
    write_study_file(out, given, "quick", {})
    again = check_folder(out, given)
    assert again.given_as == {"source": "basis", "overrides": {"backbone": "smollm2"}}
    more = check_folder(out, Study.load("basis", {"backbone": "smollm2", "seeds": [7]}).resolve("quick"))
    assert more.given_as["overrides"] == {"backbone": "smollm2", "seeds": [42, 123, 456, 7]}


def test_seeds_and_variants_may_be_added(out: Path) -> None:
    assert check_folder(out, study(seeds=[2, 3])).seeds == [1, 2, 3]
    assert check_folder(out, study(axes={"r": [1, 2, 4]})).axes["r"].values == [1, 2, 4]
    assert check_folder(out, study(question="said better", paper={"table": 2})).question == "said better"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "other"}, "its name is 'tiny', not 'other'"),
        ({"backbone": "roberta"}, "backbone is 'minilm' there and 'roberta' here"),
        ({"training": {"steps": 7}}, "training.steps of r=1 is 100 there and 7 here"),
        ({"base": {"method": "lora", "lora_alpha": 2}}, "lora_alpha of r=1 is 8.0 there and 2.0 here"),
        ({"metric": {"name": "loss", "direction": "minimize"}}, "metric is"),
    ],
)
def test_another_study_is_refused_by_what_differs(out: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(StudyError) as caught:
        check_folder(out, study(**changes))
    assert says in str(caught.value)


def test_a_file_and_foreign_databases_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="is a file"):
        check_folder(tmp_path / "file", study())
    (tmp_path / "optuna.db").write_text("")
    with pytest.raises(StudyError, match="holds databases of something else"):
        check_folder(tmp_path, study())
    write_study_file(tmp_path, study(), "smoke", {})
    (tmp_path / "study.json").write_text("{torn")
    with pytest.raises(StudyError, match="cannot be read"):
        check_folder(tmp_path, study())


def test_a_study_that_has_not_run_yet_binds_nobody_and_has_an_empty_record(out: Path) -> None:
    (out / "mlflow.db").unlink()
    assert check_folder(out, study(name="other")).name == "other"
    results = Results.load(out)
    assert (results.planned, results.records, results.complete) == (4, [], False)
    assert results.study == study()
    assert results.environment == {"python": "3"}


def test_costs_come_from_what_ran_here_first() -> None:
    cells = expand_cells(study())
    assert estimate_seconds(cells, None) is None
    declared = estimate_seconds(cells, 0.01)
    assert declared is not None
    assert declared > len(cells) * 100 * 32 * 0.01
    took_three = {"status": "finished", "duration_seconds": 3.0}
    assert estimate_seconds(cells, 0.01, [(cells[0], took_three)]) == 12.0
    assert estimate_seconds(cells, {cells[0].backbone: 0.01}) == declared
    assert estimate_seconds(cells, {"another": 0.01}) is None
    elsewhere = [dataclasses.replace(cell, backbone="another") for cell in cells]
    assert estimate_seconds(elsewhere, 0.01, [(cells[0], took_three)]) == declared  # a cell there says nothing of here


def test_memory_that_ran_out_is_told_from_other_errors() -> None:
    from lrlora.studies.training.memory import is_out_of_memory

    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(OSError("no space left"))


def test_the_first_loss_that_is_no_number_stops_the_run() -> None:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    heard: list[tuple[int, dict[str, float | None]]] = []
    recorder = StepRecorder(lambda step, figures: heard.append((step, dict(figures))))
    state, control = TrainerState(), TrainerControl()
    arguments = object.__new__(TrainingArguments)
    for step, loss in enumerate([0.5, float("nan"), float("inf")], start=1):
        state.global_step = step
        recorder.on_log(arguments, state, control, {"loss": loss, "learning_rate": 1e-3, "grad_norm": 1.0})
        if control.should_training_stop:
            break
    assert recorder.diverged_at == 2
    assert recorder.train_loss == [0.5, None]
    assert heard[1][1]["train/loss"] is None


def test_metrics_of_a_split_leave_the_timings_out() -> None:
    assert split_metrics({"eval_loss": 1.0, "eval_accuracy": 0.5, "eval_runtime": 3.0, "epoch": 1}, "eval") == {
        "loss": 1.0,
        "accuracy": 0.5,
    }

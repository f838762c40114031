"""Whole studies on the real model and the real headlines."""

from __future__ import annotations

import json
from pathlib import Path

import command
import pytest

pytestmark = pytest.mark.e2e

TINY = """
name: tiny
base: {method: lora}
axes: {r: [1, 2]}
reference: r=1
seeds: [1]
budgets:
  smoke:
    steps: 4
    batch_size: 4
    max_length: 16
    train_examples: 16
    validation_examples: 8
    test_examples: 8
"""


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


def test_the_basis_study_is_interrupted_resumed_and_then_left_alone(tmp_path: Path) -> None:
    arguments = ("study", "run", "basis", "--budget", "smoke", "--out", "out")
    first = command.run_and_interrupt(*arguments, cwd=tmp_path, after="[2/6]")
    assert first.status == 130, first.output
    assert "interrupted: run the same command again to continue" in first.output
    assert "Traceback" not in first.output
    halfway = command.read_record(tmp_path / "out")
    assert len(halfway.finished) == 2
    assert set(halfway.statuses) <= {"FINISHED", "KILLED"}
    assert halfway.trials["COMPLETE"] == 2
    assert halfway.trials["RUNNING"] == 0

    second = command.run(*arguments, cwd=tmp_path)
    assert second.status == 0, second.output
    assert "2 of 6 cells are done" in second.output
    record = command.read_record(tmp_path / "out")
    assert record.statuses == {"FINISHED": 6}
    assert record.trials["COMPLETE"] == 6
    assert record.trials["WAITING"] == record.trials["RUNNING"] == 0
    assert halfway.finished.items() <= record.finished.items(), "a finished cell was run again"
    assert all(steps == [1, 2, 3, 4, 5, 6] for steps in record.steps.values()), record.steps
    for file in ("index.html", "summary.md", "results.csv", "results.json"):
        assert (tmp_path / "out" / "report" / file).stat().st_size > 0
    results = {result["variant"]: result for result in map(json.loads, _result_files(tmp_path / "out", record))}
    assert set(results) == {"sinc", "gaussian", "bspline", "fourier", "polynomial", "lora"}
    lora = results["lora"]
    for result in results.values():
        assert result["status"] == "finished"
        assert result["train_loss"][0] == pytest.approx(lora["train_loss"][0], rel=1e-4), "one head, one order, ΔW = 0"
        assert {layer["module"] for layer in result["layers"]} == {layer["module"] for layer in lora["layers"]}
        assert [point["step"] for point in result["validation"]] == [3, 6]
        assert result["parameters"]["adapter"] - result["parameters"]["transfer"] == lora["parameters"]["adapter"]

    third = command.run(*arguments, cwd=tmp_path)
    assert third.status == 0, third.output
    assert command.read_record(tmp_path / "out").finished == record.finished


def _result_files(out: Path, record: object) -> list[str]:
    runs = record.finished.values()  # type: ignore[attr-defined]
    return [(out / "artifacts" / run / "artifacts" / "result.json").read_text() for run in runs]


def test_a_run_that_diverges_is_a_result_and_the_study_goes_on(tmp_path: Path, tiny: str) -> None:
    wild = "variants.wild={r: 3, training: {learning_rate: 1e30}}"
    arguments = ("study", "run", tiny, "--budget", "smoke", "--out", "out", "--set", wild)
    ended = command.run(*arguments, cwd=tmp_path)
    assert ended.status == 0, ended.output
    assert "wild seed 1: diverged at step" in ended.output
    results = {result["variant"]: result for result in command.read_record(tmp_path / "out").results}
    assert {name: result["status"] for name, result in results.items()} == {
        "r=1": "finished",
        "r=2": "finished",
        "wild": "diverged",
    }
    assert results["wild"]["diverged_at"] == len(results["wild"]["train_loss"])
    assert results["wild"]["train_loss"][-1] is None
    again = command.run(*arguments, "--set", "seeds=[1, 2]", cwd=tmp_path)
    assert again.status == 0, again.output
    assert len(command.read_record(tmp_path / "out").finished) == 6, "more seeds join what is there"
    other = command.run(*arguments, "--set", "training.steps=3", cwd=tmp_path)
    assert other.status == 2
    assert "holds another study: training.steps of r=1 is 4 there and 3 here" in other.output


BREAKS = """
from lrlora.studies.methods import METHODS
from lrlora.studies.methods.lora import LoRA

@METHODS.register("breaks")
class Breaks(LoRA):
    def save(self, model, folder):
        raise OSError("the disk is full")
"""


def test_a_cell_that_fails_is_tried_twice_recorded_and_tried_again_by_the_next_command(
    tmp_path: Path, tiny: str
) -> None:
    (tmp_path / "breaks.py").write_text(BREAKS)
    arguments = ("study", "run", tiny, "--budget", "smoke", "--out", "out", "--plugin", "breaks.py")
    ended = command.run(*arguments, "--set", "variants.bad={method: breaks, r: 3}", cwd=tmp_path)
    assert ended.status == 1, ended.output
    assert ended.output.count("bad seed 1: failed: OSError: the disk is full") == 2
    record = command.read_record(tmp_path / "out")
    assert record.statuses == {"FINISHED": 2, "FAILED": 1}
    bad = next(result for result in record.results if result["variant"] == "bad" and result["reason"])
    assert "Traceback" in bad["reason"]
    (tmp_path / "breaks.py").write_text(BREAKS.replace('raise OSError("the disk is full")', "pass"))
    mended = command.run(*arguments, "--set", "variants.bad={method: breaks, r: 3}", cwd=tmp_path)
    assert mended.status == 0, mended.output
    assert "save of breaks (breaks.py) changed since 1 cell ran: it will run again" in mended.output
    assert command.read_record(tmp_path / "out").statuses == {"FINISHED": 3, "FAILED": 1}


def test_one_run_of_one_adapter(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("text,label\n" + "".join(f"number {i},{i % 2}\n" for i in range(60)))
    (tmp_path / "mine.yaml").write_text(
        "task: {name: files, train: mine.csv}\n"
        "adapter: {method: lrlora, r: 2, basis: gaussian}\n"
        "training: {steps: 3, batch_size: 4, max_length: 16}\n"
    )
    ended = command.run("train", "mine.yaml", "--set", "seed=7", cwd=tmp_path)
    assert ended.status == 0, ended.output
    (result,) = command.read_record(tmp_path / "runs" / "mine").results
    assert (result["seed"], result["variant"], result["status"]) == (7, "lrlora", "finished")
    assert (tmp_path / "runs" / "mine" / "report" / "index.html").exists()
    assert list((tmp_path / "runs" / "mine").glob("artifacts/*/artifacts/adapter/adapter_model.safetensors"))


def test_a_study_that_was_moved_is_reported_and_not_run_on(tmp_path: Path, tiny: str) -> None:
    assert command.run("study", "run", tiny, "--budget", "smoke", "--out", "old", cwd=tmp_path).status == 0
    (tmp_path / "old").rename(tmp_path / "new")
    reported = command.run("study", "report", "new", cwd=tmp_path)
    assert reported.status == 0, reported.output
    assert len(command.read_record(tmp_path / "new").finished) == 2
    refused = command.run("study", "run", tiny, "--budget", "smoke", "--out", "new", cwd=tmp_path)
    assert refused.status == 2
    assert "was moved here from" in refused.output
    assert not (tmp_path / "old").exists()

"""The command on the real model: it never asks for the test split, goes on after Ctrl-C, leaves a study that runs."""

from __future__ import annotations

import json
from pathlib import Path

import command
import pytest

pytestmark = pytest.mark.e2e

GUARDED = """
import os
from lrlora.studies.tasks import TASKS
from lrlora.studies.tasks.files import Files

@TASKS.register("guarded")
class Guarded(Files):
    def split(self, name):
        if name == "test" and not os.environ.get("TEST_SPLIT_ALLOWED"):
            raise AssertionError("the test split was asked for")
        return super().split(name)
"""

TINY = """
name: tiny
task: {name: guarded, train: mine.csv}
base: {method: lrlora, r: 1}
axes: {basis: [sinc]}
baselines: {lora: {method: lora, r: 1}}
reference: lora
seeds: [1]
budgets: {smoke: {steps: 3, batch_size: 4, max_length: 16}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mine.csv").write_text("text,label\n" + "".join(f"number {i},{i % 2}\n" for i in range(60)))
    (tmp_path / "guarded.py").write_text(GUARDED)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


@pytest.mark.slow
def test_a_search_is_interrupted_resumed_and_its_study_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["tune", "tiny.yaml", "--budget", "smoke", "--trials", "2", "--out", "out", "--plugin", "guarded.py"]
    arguments += ["--set", "tune.seeds=[7]"]
    first = command.run_and_interrupt(*arguments, cwd=place, after="[2/4]")
    assert first.status == 130, first.output
    assert "interrupted: run the same command again to go on" in first.output
    assert "Traceback" not in first.output
    second = command.run(*arguments, cwd=place)
    assert second.status == 0, second.output
    assert "going on to 2 for each variant" in second.output
    assert "the test split was asked for" not in second.output
    data = json.loads((place / "out" / "report" / "report.json").read_text())
    assert {name: found["counts"] for name, found in data["found"].items()} == {
        "sinc": {"complete": 2},
        "lora": {"complete": 2},
    }
    records = [json.loads(path.read_text()) for path in (place / "out").glob("artifacts/*/artifacts/result.json")]
    assert len(records) == 4, "no run is made twice"
    assert {record["judged_on"] for record in records} == {"validation"}
    assert (place / "out" / "report" / "index.html").stat().st_size > 0

    refused = command.run("study", "run", "out/tuned.yaml", "--budget", "smoke", "--plugin", "guarded.py", cwd=place)
    assert "the test split was asked for" in refused.output, "a study does look at it, so that the guard guards"
    monkeypatch.setenv("TEST_SPLIT_ALLOWED", "1")
    study = command.run("study", "run", "out/tuned.yaml", "--budget", "smoke", "--plugin", "guarded.py", cwd=place)
    assert study.status == 0, study.output
    trained = [json.loads(path.read_text()) for path in place.glob("runs/*/artifacts/*/artifacts/result.json")]
    finished = {record["variant"]: record for record in trained if record["status"] == "finished"}
    for name, found in data["found"].items():
        rate = found["best"]["settings"]["training.learning_rate"]
        assert finished[name]["training"]["learning_rate"] == rate


def test_a_search_that_cannot_be_is_refused_in_one_line(place: Path) -> None:
    arguments = ("tune", "tiny.yaml", "--budget", "smoke", "--plugin", "guarded.py")
    ended = command.run(*arguments, "--set", "space.num_grid_pints=[16]", cwd=place)
    assert ended.status == 2
    assert "did you mean 'num_grid_points'?" in ended.output
    assert len(ended.output.strip().splitlines()) == 1
    assert not (place / "runs").exists()

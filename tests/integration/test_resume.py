"""A run that is killed and resumed ends with the same bits as one that is left alone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tiny_backbones import save_backbone
from tiny_studies import checked_cell, study, write_tasks

from lrlora.studies.models.digits_vit import DigitsVit
from lrlora.studies.record.predictions import load_predictions
from lrlora.studies.spec.cells import Cell
from lrlora.studies.training.checkpoint import Checkpoints
from lrlora.studies.training.loop import run_cell

STEPS = 7
# Seven examples in batches of three: three steps an epoch, so that runs are killed within epochs and at their ends.
RUNS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], tuple[int, ...]]] = {
    "lrlora": ("classes", "bert", {"method": "lrlora", "r": 2, "lora_dropout": 0.1}, {}, (1, 3, 5)),
    "shared theta": ("text", "llama", {"method": "lrlora", "r": 2, "sharing": "all"}, {"tokens": 900}, (4,)),
    "adalora": ("classes", "bert", {"method": "adalora", "r": 2}, {}, (3,)),
    "full": ("questions", "bert", {"method": "full"}, {"gradient_accumulation": 2, "precision": "bf16"}, (2,)),
    "images": ("images", "digits-vit", {"method": "lora", "r": 2}, {"dtype": "bfloat16"}, (3,)),
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Cell]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # forked processes cannot use the pool of this one
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRLORA_CACHE", str(tmp_path_factory.mktemp("cache")))
        DigitsVit().make("digits-vit", steps=3)
        tasks = write_tasks(tmp_path_factory.mktemp("data"))
        names = {family: save_backbone(family, tmp_path_factory.mktemp(family)) for family in ("llama", "bert")}
        yield {
            name: checked_cell(study(tasks[task], names.get(on, on), base=base, steps=STEPS, **training))
            for name, (task, on, base, training, _) in RUNS.items()
        }
    torch.set_num_threads(threads)


def run_until_killed(cell: Cell, folder: Path, checkpoints: Checkpoints, step: int) -> None:
    """Runs a cell in a process that is killed when it reports a step."""

    def kill(at: int, metrics: Mapping[str, float | None]) -> None:
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        run_cell(cell, folder, kill, checkpoints)
        os._exit(0)  # not reached
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_ends_as_one_that_was_left_alone(
    name: str, cells: dict[str, Cell], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Killed at every step of the list, one after the other, each time resumed from the last checkpoint."""
    cell, files = cells[name], tmp_path_factory.mktemp("undisturbed")
    expected = run_cell(cell, files, lambda step, metrics: None)
    assert expected["status"] == "finished", expected["reason"]
    checkpoints = Checkpoints(tmp_path / "checkpoints", minutes=0)
    kills = RUNS[name][-1]
    for step in kills:
        run_until_killed(cell, tmp_path, checkpoints, step + 1)
    told: list[tuple[int, Mapping[str, float | None]]] = []
    record = run_cell(cell, tmp_path, lambda *event: told.append(event), checkpoints)
    assert record["status"] == "finished", record["reason"]
    assert record["resumed_at"] == list(kills)
    changing = {"duration_seconds", "step_seconds", "tokens_per_second", "peak_memory_bytes", "resumed_at"}
    for key in record.keys() - changing:
        assert json.dumps(record[key]) == json.dumps(expected[key]), key
    weights = "model" if name == "full" else "adapter_model"
    found, wanted = (load_file(folder / f"{weights}.safetensors") for folder in (tmp_path, files))
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[tensor], wanted[tensor]) for tensor in wanted)
    predictions, before = (load_predictions(folder / expected["predictions"]) for folder in (tmp_path, files))
    assert all(np.array_equal(predictions[column], before[column]) for column in before)
    assert [step for step, metrics in told if "train/loss" in metrics] == list(range(1, len(record["train_loss"]) + 1))
    assert [step for step, metrics in told if "validation/loss" in metrics] == [p["step"] for p in record["validation"]]


def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before(
    cells: dict[str, Cell], tmp_path: Path
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    expected = run_cell(cells["images"], undisturbed, lambda step, metrics: None)
    checkpoints = Checkpoints(tmp_path / "checkpoints", minutes=0)
    run_until_killed(cells["images"], killed, checkpoints, 5)
    newest = max(checkpoints.folder.iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    record = run_cell(cells["images"], killed, lambda step, metrics: None, checkpoints)
    assert record["resumed_at"] == [3]
    for name in ("metrics", "train_loss", "validation"):
        assert json.dumps(record[name]) == json.dumps(expected[name])


def test_a_run_without_time_for_a_checkpoint_writes_none(cells: dict[str, Cell], tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", minutes=60)
    run_cell(cells["lrlora"], tmp_path, lambda step, metrics: None, checkpoints)
    assert not checkpoints.folder.exists()


def test_an_error_is_an_outcome_and_what_the_listener_raises_is_not(
    cells: dict[str, Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cells["lrlora"]

    def stop(step: int, metrics: Mapping[str, float | None]) -> None:
        if step == 2:
            raise LookupError("given up")

    with pytest.raises(LookupError, match="given up"):
        run_cell(cell, tmp_path, stop)

    def broken(error: Exception) -> dict[str, Any]:
        def scores(self: Any, outputs: Any, labels: Any) -> Any:
            raise error

        monkeypatch.setattr("lrlora.studies.kinds.kind.Kind.scores", scores)
        return run_cell(cell, tmp_path, lambda step, metrics: None)

    record = broken(ZeroDivisionError("of a plugin"))
    assert record["status"] == "failed"
    assert record["reason"].endswith("ZeroDivisionError: of a plugin\n")
    assert len(record["train_loss"]) == 2, "up to the first validation"
    for error in (torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory")):
        assert broken(error)["reason"].startswith("out of memory: ")

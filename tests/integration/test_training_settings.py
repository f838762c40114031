"""Settings of how a run is trained: each does what it says, and the environment sets none of them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_backbones import save_backbone
from tiny_studies import checked_cell, run, study, write_tasks

from lrlora.studies.errors import StudyError
from lrlora.studies.models.weights import LIBRARIES
from lrlora.studies.training.isolation import OneDeviceArguments, without_launcher_settings

LAUNCHED = {
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_USE_CPU": "true",
    "ACCELERATE_DYNAMO_BACKEND": "EAGER",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "FSDP_VERSION": "2",
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return write_tasks(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Without dropout, which draws anew for every batch."""
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    names = {"llama": {}, "bert": dropout}
    return {name: save_backbone(name, tmp_path_factory.mktemp(name), **config) for name, config in names.items()}


def test_the_environment_of_a_launcher_changes_no_number(
    tasks: dict[str, Any], backbones: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = study(tasks["classes"], backbones["bert"])
    expected = run(chosen, tmp_path)
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    found = run(chosen, tmp_path)
    assert found["status"] == "finished", found["reason"]
    for key in ("train_loss", "grad_norm", "metrics", "validation"):
        assert found[key] == expected[key]


def test_variables_are_back_after_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with without_launcher_settings():
        assert not LAUNCHED.keys() & os.environ.keys()
        os.environ["ACCELERATE_MIXED_PRECISION"] = "fp16"
        os.environ["FSDP_NEW"] = "1"
    assert dict(os.environ) == before


def test_several_devices_do_not_multiply_the_batch(tmp_path: Path) -> None:
    arguments = OneDeviceArguments(output_dir=str(tmp_path), use_cpu=True, per_device_train_batch_size=3)
    assert (arguments.n_gpu, arguments.train_batch_size) == (0, 3)
    arguments._n_gpu = 4  # what the Trainer reads from torch.cuda.device_count()
    assert (arguments.n_gpu, arguments.train_batch_size, arguments.eval_batch_size) == (1, 3, 8)
    assert arguments.parallel_mode.value == "not_parallel"


@pytest.mark.parametrize(("task", "on"), [("classes", "bert"), ("questions", "bert"), ("text", "llama")])
def test_accumulated_batches_are_one_larger_batch(
    task: str, on: str, tasks: dict[str, Any], backbones: dict[str, str], tmp_path: Path
) -> None:
    """Seven examples leave a smaller step at the end of an epoch."""
    at_once, several = (
        run(study(tasks[task], backbones[on], **sizes), tmp_path)
        for sizes in ({"batch_size": 4}, {"batch_size": 2, "gradient_accumulation": 2})
    )
    assert several["train_loss"] == pytest.approx(at_once["train_loss"], rel=1e-4)
    # Plans of adapters count backward passes, so that they are others, within the tolerance of 2e-3.
    assert several["grad_norm"] == pytest.approx(at_once["grad_norm"], rel=5e-3)
    for key in ("examples_seen", "tokens_seen"):
        assert several[key] == at_once[key]


@pytest.mark.parametrize(
    ("task", "on", "changes"),
    [
        ("classes", "bert", {"dtype": "bfloat16"}),
        ("classes", "llama", {"dtype": "float16", "gradient_checkpointing": True}),
        ("text", "llama", {"dtype": "bfloat16", "precision": "bf16"}),
        ("questions", "bert", {"precision": "bf16", "gradient_checkpointing": True}),
    ],
)
def test_number_formats_change_rounding_alone(
    task: str, on: str, changes: dict[str, Any], tasks: dict[str, Any], backbones: dict[str, str], tmp_path: Path
) -> None:
    plain, changed = (run(study(tasks[task], backbones[on], **other), tmp_path) for other in ({}, changes))
    assert changed["status"] == "finished", changed["reason"]
    assert changed["train_loss"] == pytest.approx(plain["train_loss"], rel=0.05)
    assert changed["train_loss"] != plain["train_loss"]
    assert {key: changed["training"][key] for key in changes} == changes, "it is recorded"
    assert plain["training"]["dtype"] == "float32"


def test_gradient_checkpointing_changes_no_bit(
    tasks: dict[str, Any], backbones: dict[str, str], tmp_path: Path
) -> None:
    plain, again = (
        run(study(tasks["classes"], backbones["bert"], gradient_checkpointing=on), tmp_path) for on in (False, True)
    )
    assert again["train_loss"] == plain["train_loss"]


@pytest.mark.parametrize(
    ("base", "changes", "says"),
    [
        ({}, {"precision": "fp16"}, "training.precision=fp16 needs a GPU; use bf16"),
        ({"method": "full"}, {"dtype": "float16"}, "training.dtype=float16 has no effect on method full"),
        ({"method": "vera"}, {"quantization": "int8"}, "training.quantization=int8 is not available for method vera"),
        ({}, {"quantization": "int4"}, "training.quantization"),
    ],
)
def test_what_is_not_available_is_said_in_one_line(
    base: dict[str, Any],
    changes: dict[str, Any],
    says: str,
    tasks: dict[str, Any],
    backbones: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StudyError) as caught:
        checked_cell(study(tasks["classes"], backbones["bert"], base=base or None, **changes))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("quantization", LIBRARIES)
def test_a_quantized_base_is_trained_or_its_library_is_named(
    quantization: str, tasks: dict[str, Any], backbones: dict[str, str], tmp_path: Path
) -> None:
    library = LIBRARIES[quantization]
    chosen = study(tasks["classes"], backbones["llama"], quantization=quantization)
    if importlib.util.find_spec(library) is None:
        with pytest.raises(StudyError, match=f"needs {library}, which is not installed"):
            checked_cell(chosen)
        return
    record = run(chosen, tmp_path)
    plain = run(study(tasks["classes"], backbones["llama"]), tmp_path)
    assert record["status"] == "finished", record["reason"]
    assert record["train_loss"] == pytest.approx(plain["train_loss"], rel=0.1)
    assert record["train_loss"] != plain["train_loss"]

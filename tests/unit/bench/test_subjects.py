"""What is measured is the same for both methods, and another process can measure it too."""

from __future__ import annotations

import json

import pytest
import torch

from lrlora.studies.bench.memory import MIB, measure_peak
from lrlora.studies.bench.settings import Variant
from lrlora.studies.bench.shapes import SHAPES
from lrlora.studies.bench.subjects import LayerSubject, ModelSubject, subject_from_dict
from lrlora.studies.bench.trained_state import AMPLITUDE_STD, B_STD
from lrlora.studies.errors import StudyError

VARIANT = Variant("sinc", "auto", rank=4, grid_points=10)
LAYER = LayerSubject("32x16", (32, 16), 8)


def parameters(step: object, ending: str) -> list[torch.Tensor]:
    named = step.model.named_parameters()  # type: ignore[attr-defined]
    return [parameter for name, parameter in named if ending in name]


def test_both_methods_are_at_the_same_trained_state() -> None:
    ours, theirs = LAYER.step(VARIANT.ours), LAYER.step(VARIANT.theirs)
    for part in ("lora_A.", "lora_B."):
        (mine,), (other,) = parameters(ours, part), parameters(theirs, part)
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    (b,), (amplitude,) = parameters(ours, "lora_B."), parameters(ours, "lora_amplitude.")
    assert 0.7 < b.std() / B_STD < 1.3
    assert 0.3 < amplitude.std() / AMPLITUDE_STD < 2


def test_a_step_changes_next_to_nothing() -> None:
    step = LAYER.step(VARIANT.ours)
    before = [parameter.clone() for parameter in step.model.parameters()]
    for _ in range(3):
        step()
    assert any(parameter.grad is not None for parameter in step.model.parameters())
    for old, new in zip(before, step.model.parameters(), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=1e-5)


def test_what_the_engine_did_is_said_for_ours_alone() -> None:
    assert LAYER.step(VARIANT.ours).evaluation()
    assert LAYER.step(VARIANT.theirs).evaluation() == ""


@pytest.mark.parametrize("subject", [LAYER, ModelSubject("minilm", 2, 3, "bfloat16", True)])
def test_a_subject_survives_json(subject: LayerSubject | ModelSubject) -> None:
    assert subject_from_dict(json.loads(json.dumps(subject.to_dict()))) == subject


def test_peak_memory_is_that_of_a_process_of_its_own() -> None:
    held = torch.zeros(100, MIB)  # 400 MiB here, which the other process does not have
    held.fill_(1.0)
    peak = measure_peak(LAYER, VARIANT.theirs, threads=1, steps=1)
    assert 50 < peak.rest_mib <= peak.peak_mib * 1.1
    assert peak.source.startswith("process: ")
    # That process holds PyTorch and PEFT, which take less than this one with what it holds besides.
    assert peak.peak_mib < 2000


def test_a_process_that_fails_is_one_line() -> None:
    with pytest.raises(StudyError, match=r"^memory of 32x16 with lrlora: .*gone\.py' does not exist.*$"):
        measure_peak(LAYER, VARIANT.ours, threads=1, plugins=["gone.py"])


def test_shapes_are_those_of_the_models() -> None:
    assert SHAPES["llama3-8b/kv"] == (1024, 4096)
    assert SHAPES["roberta-base/down"] == (768, 3072)
    assert all(len(shape) == 2 for shape in SHAPES.values())

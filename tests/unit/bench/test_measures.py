"""What is measured: layers that bend as they should, counted operations, cells of the study."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from lrlora.studies.bench import layers
from lrlora.studies.bench.cells import BUDGET, STUDY, plan_cell
from lrlora.studies.bench.compared import compared_methods, lrlora_config
from lrlora.studies.bench.load import busy
from lrlora.studies.bench.operations import operations_per_layer
from lrlora.studies.bench.worker import run_worker
from lrlora.studies.errors import StudyError
from lrlora.studies.spec.cells import expand_cells
from lrlora.studies.spec.study import Study


@pytest.mark.parametrize(
    ("basis", "bending"), [("sinc", "mild"), ("bspline", "strong"), ("fourier", "mild"), ("polynomial", "strong")]
)
def test_sampled_layers_have_the_bending_that_was_asked_for(basis: str, bending: str) -> None:
    config = lrlora_config(basis, 4, engine="direct")
    amplitude = layers.bent_amplitude(config, bending)
    model = layers._adapted(torch.zeros(192, 128), config)
    A, B = layers.sample_factors((192, 128), 4)
    layers._set(model, {"A": A, "B": B})
    product = (B @ A).double()
    assert layers.INPUT_SCALE * product.square().mean().sqrt() == pytest.approx(layers.RMS, rel=1e-4)
    found = layers.nonlinear_fraction(layers._update(model, amplitude), product)
    assert found == pytest.approx(layers.BENDINGS[bending], rel=0.3)


def test_a_layer_step_trains_and_one_token_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[nn.Module] = []
    adapted = layers._adapted

    def keep(*arguments: Any) -> nn.Module:
        made.append(adapted(*arguments))
        return made[-1]

    monkeypatch.setattr(layers, "_adapted", keep)
    configs = compared_methods([], ["hira"], 2)
    for tokens in (1, 3):
        made.clear()
        for step in layers.layer_steps((12, 8), tokens, configs).values():
            step()
        assert [model.training for model in made] == [tokens > 1] * 2
        for model in made:
            learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
            assert all((parameter.grad is None) == (tokens == 1) for parameter in learned)


def test_operations_are_counted_without_views() -> None:
    model = get_peft_model(nn.Sequential(nn.Linear(4, 4, bias=False)), LoraConfig(r=2, target_modules=["0"]))
    # Three products and ones for the scaling and the sum.
    assert operations_per_layer(model, 2, 3)[0] == 5
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_cell_is_the_one_that_the_study_runs() -> None:
    cells = {cell.variant.name: cell for cell in expand_cells(Study.load(STUDY).resolve(BUDGET)) if cell.seed == 42}
    for name, config in compared_methods(["sinc", "fourier"], [], 4).items():
        assert plan_cell(name, config, None).id == cells[name].id
    short = plan_cell("sinc", lrlora_config("sinc", 4), 7).variant.training
    assert (short.steps, short.eval_every) == (7, 7)


def test_a_process_that_fails_is_one_line() -> None:
    with pytest.raises(StudyError, match=r"^bench, process of sinc: .*gone\.py[^\n]*$"):
        run_worker("cells", {"name": "sinc"}, 1, plugins=["gone.py"])


def test_a_load_ends_with_its_block() -> None:
    with busy(True) as process:
        assert process is not None
        assert process.poll() is None
    assert process.poll() is not None
    with busy(False) as process:
        assert process is None

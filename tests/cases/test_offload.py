"""Parameters that live elsewhere until their module is called (peft PR 1431, accelerate #1711).

``accelerate`` leaves a parameter on the meta device and loads it when the module that holds it is called. Whoever reads
a parameter of another module, or of its own before the call, finds nothing there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from accelerate.hooks import remove_hook_from_submodules
from peft import PeftModel
from small import adapted, llama, off, rows, run, with_lora
from torch import nn

CPU = torch.device("cpu")


def on_disk(model: nn.Module, folder: Path) -> None:
    disk_offload(model, str(folder), execution_device=CPU)


def dispatched(model: nn.Module, folder: Path) -> None:
    names = [name for name, _ in model.named_children()]
    dispatch_model(model, dict.fromkeys(names, "disk"), main_device=CPU, offload_dir=str(folder))


WAYS: dict[str, Callable[[nn.Module, Path], Any]] = {
    "cpu": lambda model, folder: cpu_offload(model, execution_device=CPU),
    "cpu, buffers too": lambda model, folder: cpu_offload(model, execution_device=CPU, offload_buffers=True),
    "disk": on_disk,
    "dispatched": dispatched,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["lora", "lrlora"])
def test_an_offloaded_model_computes_the_same(method: str, way: str, tmp_path: Path) -> None:
    model = adapted() if method == "lrlora" else with_lora()
    expected = run(model, rows())
    WAYS[way](model, tmp_path)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert off(run(model, rows()), expected) < 1e-5
    assert off(run(model, rows()), expected) < 1e-5


@pytest.mark.parametrize(
    "fields",
    [{"sharing": "all", "grid": "learned"}, {"lora_dropout": 0.2}, {"engine": "direct"}, {"basis": "gaussian"}],
    ids=str,
)
def test_every_kind_of_adapter_is_offloaded(fields: dict[str, Any]) -> None:
    model = adapted(llama(), target_modules=["embed_tokens", "q_proj", "down_proj"], **fields)
    ids = torch.arange(3, 15).view(2, 6)
    expected = run(model, ids)
    cpu_offload(model, execution_device=CPU)
    assert off(run(model, ids), expected) < 1e-5


def test_it_generates_while_offloaded() -> None:
    model = adapted(llama(), target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    settings = {"max_new_tokens": 4, "do_sample": False, "input_ids": torch.arange(3, 9)[None]}
    expected = model.generate(**settings)
    cpu_offload(model, execution_device=CPU)
    assert torch.equal(model.generate(**settings), expected)


def test_what_was_offloaded_goes_on_when_it_is_back() -> None:
    model = adapted()
    expected = run(model, rows())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    cpu_offload(model, execution_device=CPU, state_dict=state)
    run(model, rows())
    remove_hook_from_submodules(model)
    assert off(run(model, rows()), expected) < 1e-5


def test_only_the_base_offloaded(tmp_path: Path) -> None:
    """The base's modules alone, as where a model was loaded with a device map before it was adapted."""
    model = adapted()
    expected = run(model, rows())
    for module in model.modules():
        if type(module) is nn.Linear:
            cpu_offload(module, execution_device=CPU)
    assert off(run(model, rows()), expected) < 1e-5
    model.save_pretrained(tmp_path)
    from small import mlp

    assert off(run(PeftModel.from_pretrained(mlp(), tmp_path).eval(), rows()), expected) < 1e-5

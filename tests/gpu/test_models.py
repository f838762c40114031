"""MiniLM on a device: it trains as LoRA does, and as on a CPU; half precision, checkpoints, the compiler, and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from lrlora import LRLoraConfig, parameter_groups

Make = Callable[[], nn.Module]
TARGETS = ["query", "key", "value", "intermediate.dense", "output.dense"]


def adapted(base: nn.Module, device: str, method: str = "auto") -> Any:
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 4, "target_modules": TARGETS, "task_type": "SEQ_CLS"}
    torch.manual_seed(1)
    config = LoraConfig(**settings) if method == "lora" else LRLoraConfig(**settings, engine=method)
    return get_peft_model(base, config).to(device).train()


def batch(device: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(1000, 20_000, (8, 12), generator=generator)
    mask = (torch.arange(12) < 12 - torch.arange(8)[:, None]).long()
    return {name: v.to(device) for name, v in (("input_ids", ids), ("attention_mask", mask), ("labels", ids[:, 0] % 2))}


def train(model: Any, device: str, steps: int, run: Any = None, autocast: bool = False) -> list[float]:
    trained = [p for p in model.parameters() if p.requires_grad]
    lora = any("lrlora_" not in name and "lora_" in name for name, _ in model.named_parameters())
    optimizer = torch.optim.AdamW(trained if lora else parameter_groups(model, lr=2e-3), lr=2e-3)
    inputs, losses = batch(device), []
    for _ in range(steps):
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            loss = (model if run is None else run)(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def test_the_loss_falls_as_that_of_lora(minilm: Make, device: str) -> None:
    ours, theirs = (train(adapted(minilm(), device, method), device, 12) for method in ("auto", "lora"))
    assert theirs[-1] < 0.8 * theirs[0]
    assert ours[-1] < theirs[-1] + 0.15 * theirs[0]


@pytest.mark.parametrize("engine", ["auto", "polynomial"])
def test_training_is_that_on_a_cpu(engine: str, minilm: Make, device: str) -> None:
    found, expected = (train(adapted(minilm(), where, engine), where, 4) for where in (device, "cpu"))
    assert found == pytest.approx(expected, rel=5e-3)


def test_what_was_trained_is_the_same_elsewhere(minilm: Make, device: str, tmp_path: Path) -> None:
    model = adapted(minilm(), device)
    train(model, device, 6)
    with torch.no_grad():
        expected = model.eval()(**batch(device)).logits.cpu()
        model.save_pretrained(tmp_path)
        loaded: Any = PeftModel.from_pretrained(minilm(), str(tmp_path)).eval()
        torch.testing.assert_close(loaded(**batch("cpu")).logits, expected, rtol=1e-4, atol=1e-4)
        moved = model.to("cpu")
        torch.testing.assert_close(moved(**batch("cpu")).logits, expected, rtol=1e-4, atol=1e-4)
        back: Any = loaded.to(device)
        torch.testing.assert_close(back(**batch(device)).logits.cpu(), expected, rtol=1e-4, atol=1e-4)
        merged: Any = back.merge_and_unload()
        torch.testing.assert_close(merged(**batch(device)).logits.cpu(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("engine", ["auto", "polynomial", "tabulated"])
def test_autocast_trains_as_full_precision(engine: str, minilm: Make, device: str) -> None:
    exact, found = (train(adapted(minilm(), device, engine), device, 4, autocast=half) for half in (False, True))
    assert found[0] == pytest.approx(exact[0], rel=2e-2)
    assert found[-1] < found[0]


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointed_gradients_are_the_same(use_reentrant: bool, minilm: Make, device: str) -> None:
    found = []
    for checkpointed in (False, True):
        model = adapted(minilm(), device)
        train(model, device, 3)
        if checkpointed:
            model.base_model.model.activation_checkpointing_enable({"use_reentrant": use_reentrant})
            model.enable_input_require_grads()
        model(**batch(device)).loss.backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert float((found[1][name] - gradient).norm()) <= 1e-3 * float(gradient.norm()), name


@pytest.fixture
def compiler(device: str) -> Iterator[str]:
    torch._dynamo.reset()
    yield "inductor" if device == "cuda" else "aot_eager"
    torch._dynamo.reset()


def test_a_compiled_model_trains_as_an_eager_one(compiler: str, minilm: Make, device: str) -> None:
    eager, compiled = adapted(minilm(), device), adapted(minilm(), device)
    found = train(compiled, device, 5, torch.compile(compiled, backend=compiler))
    assert found == pytest.approx(train(eager, device, 5), rel=5e-3)

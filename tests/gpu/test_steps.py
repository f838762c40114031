"""A training step on a device: no waiting for it between plans, and the same bits twice if that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import nn

from lrlora import LRLoraConfig

ENGINES = ["direct", "auto", "monomials", "polynomial", "tabulated"]


def adapted(device: str, **fields: Any) -> nn.Module:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(96, 128), nn.Tanh(), nn.Linear(128, 96)).to(device)
    settings = {"r": 3, "target_modules": ["0", "2"], "init_weights": False, "input_scale": 5.0, **fields}
    return get_peft_model(base, LRLoraConfig(**settings)).train()


def train(model: nn.Module, steps: int, device: str) -> list[torch.Tensor]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        loss = model(torch.randn(32, 96, generator=generator).to(device)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return losses


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_between_plans_does_not_wait_for_the_device(
    engine: str, autocast: bool, device: str, no_host_reads: Callable[[], Any]
) -> None:
    model, x = adapted(device, engine=engine), torch.randn(32, 96).to(device)
    train(model, 6, device)  # plans are made at steps 0, 1, 2, 3, 4 and 6
    model(x).square().mean().backward()
    with no_host_reads(), torch.autocast(device, torch.bfloat16, enabled=autocast):
        model(x).square().mean().backward()


@pytest.mark.parametrize("engine", ENGINES)
def test_evaluation_waits_once_and_no_more(engine: str, device: str, no_host_reads: Callable[[], Any]) -> None:
    model, x = adapted(device, engine=engine).eval(), torch.randn(32, 96).to(device)
    model(x)
    if device == "cpu" and engine != "direct":
        with pytest.raises(AssertionError), no_host_reads():  # there values are compared, and nobody has to wait
            model(x)
    else:
        with no_host_reads():
            model(x)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize(
    "fields",
    [*({"engine": name} for name in ENGINES), {"grid": "learned"}, {"sharing": "all"}],
    ids=lambda fields: "=".join(next(iter(fields.items()))),
)
def test_deterministic_algorithms_give_the_same_bits_twice(fields: dict[str, str], device: str) -> None:
    found = []
    for _ in range(2):
        model = adapted(device, **fields)
        losses = train(model, 6, device)
        found.append([*losses, *(p.detach() for p in model.parameters())])
    assert all(bool(one.isfinite().all()) and torch.equal(one, other) for one, other in zip(*found, strict=True))

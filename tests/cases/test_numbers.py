"""Training steps that are larger than anyone would choose leave finite numbers.

PEFT's suite trains each of its methods for three steps of plain SGD at a rate of 0.5, on inputs of up to 89
(``test_parameters_after_loading_model``). The entries of BA are then far outside of the grid, where a polynomial grows
without a bound. Engines that reach a limit of their own go on another way.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from small import adapted, mlp, off, rows, run, trained
from torch import Tensor, nn

from lrlora import LRLoraConfig
from lrlora.bases import BASES
from lrlora.engines import ENGINES

BASIC = [name for name in BASES.names() if name not in ("sum", "product", "scaled")]


class Subject(nn.Module):
    """PEFT's own, in its shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.lin0 = nn.Linear(10, 20)
        self.lin1 = nn.Linear(20, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin1(torch.relu(self.lin0(x))).log_softmax(-1)


def subject(**fields: Any) -> PeftModel:
    torch.manual_seed(0)
    config = LRLoraConfig(target_modules=["lin0", "lin1"], num_grid_points=6, **fields)
    return get_peft_model(Subject(), config)


@pytest.mark.parametrize("engine", ["auto", "direct"])
@pytest.mark.parametrize("basis", BASIC)
def test_large_steps_leave_finite_parameters_that_load(basis: str, engine: str, tmp_path: Path) -> None:
    model = subject(basis=basis, engine=engine).train()
    x = torch.arange(90.0).view(9, 10)
    before = {name: p.detach().clone() for name, p in trained(model).items()}
    optimizer = torch.optim.SGD(trained(model).values(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
    after = {name: p.detach().clone() for name, p in trained(model).items()}
    assert [name for name, p in after.items() if not p.isfinite().all()] == []
    assert all(not torch.equal(after[name], p) for name, p in before.items() if "lrlora_B" in name)
    model.save_pretrained(tmp_path)
    torch.manual_seed(0)
    loaded = PeftModel.from_pretrained(Subject(), tmp_path, is_trainable=True)
    assert all(torch.equal(dict(loaded.named_parameters())[name], p) for name, p in after.items())


@pytest.mark.parametrize("engine", ENGINES.names())
@pytest.mark.parametrize("r", [2, 8])
def test_an_engine_that_reaches_its_limit_goes_on(engine: str, r: int) -> None:
    """BA grows a hundredfold in training: what an engine cannot do it hands on, with a warning at most."""
    model = adapted(engine=engine, r=r, input_scale=1.0)
    reference = adapted(engine="direct", r=r, input_scale=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in (model, reference):
            each.train()
            for scale in (1.0, 4.0, 5.0, 5.0):
                with torch.no_grad():
                    for name, p in each.named_parameters():
                        if "lrlora_B" in name:
                            p.mul_(scale)
                each.zero_grad()
                each(rows()).square().mean().backward()
                assert all(p.grad is None or p.grad.isfinite().all() for p in each.parameters())
        found, expected = run(model, rows()), run(reference, rows())
    assert (found - expected).norm() < 2e-2 * expected.norm()


@pytest.mark.parametrize("engine", ENGINES.names())
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_base_of_another_dtype_has_an_update_of_its_own(dtype: torch.dtype, engine: str) -> None:
    expected = run(adapted(engine=engine), rows())
    model = adapted(mlp().to(dtype), engine=engine)
    found = run(model, rows().to(dtype))
    assert found.dtype == dtype
    assert off(found, expected) < (1e-2 if dtype == torch.float64 else 3e-2)
    with model.disable_adapter():
        assert off(run(model, rows().to(dtype)), expected) > 0.1

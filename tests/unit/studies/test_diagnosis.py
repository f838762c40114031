"""Where a run began to diverge: in parameters, outputs or gradients, in that order; nowhere if all is well."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lrlora.studies.training.diagnostics import find_origin

DEPTH = 5


class Step(nn.Module):
    """One layer that can be told to give what is not finite, on the way there or on the way back."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.breaks: str | None = None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.linear(x)
        if self.breaks == "output":
            y = y / torch.zeros(())
        if self.breaks == "gradient":
            y = y + 0 * (self.linear.bias - self.linear.bias.detach()).abs().sqrt().sum()
        return {"hidden": y}


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(Step() for _ in range(DEPTH))

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)["hidden"]
        return x.square().sum()


def origin_of(model: Deep) -> tuple[str | None, str] | None:
    x = torch.ones(2, 3)
    model(x).backward()
    return find_origin(model, lambda: model(x))


@pytest.fixture
def model() -> Deep:
    torch.manual_seed(0)
    return Deep()


def test_a_model_in_which_all_is_finite_has_no_origin_and_keeps_no_hook(model: Deep) -> None:
    assert origin_of(model) is None
    assert not any(module._forward_hooks for module in model.modules())


@given(first=st.integers(0, DEPTH - 1), also=st.sets(st.integers(0, DEPTH - 1)))
def test_the_first_broken_output_is_found_whatever_breaks_after_it(first: int, also: set[int]) -> None:
    model = Deep()
    for i in {first, *(i for i in also if i > first)}:
        model.steps[i].breaks = "output"  # type: ignore[assignment]
    assert origin_of(model) == (f"steps.{first}", "output")


@given(depth=st.integers(0, DEPTH - 1), value=st.sampled_from([math.inf, -math.inf, math.nan]))
def test_a_broken_parameter_comes_before_what_it_makes(depth: int, value: float) -> None:
    model = Deep()
    with torch.no_grad():
        model.steps[depth].linear.weight[1, 2] = value  # type: ignore[union-attr,index,operator]
    assert origin_of(model) == (f"steps.{depth}.linear", "weight")


def test_a_gradient_is_found_where_the_way_back_broke_first(model: Deep) -> None:
    model.steps[2].breaks = "gradient"  # type: ignore[assignment]
    assert origin_of(model) == ("steps.2.linear", "gradient of bias")


def test_a_way_through_the_model_that_raises_hides_nothing(model: Deep) -> None:
    model.steps[1].breaks = "output"  # type: ignore[assignment]

    def fails() -> Any:
        model(torch.ones(2, 3))
        raise ValueError("probabilities must be finite")

    assert find_origin(model, fails) == ("steps.1", "output")

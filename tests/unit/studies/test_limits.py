"""A run ends at the first of its limits, and its learning rate with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerControl, TrainerState

from lrlora.studies.training.limits import Limits


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(limits: Limits, clock: Clock, tokens_a_step: int, seconds_a_step: float, **schedule: Any) -> list[float]:
    """The learning rates of a run without a model."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = limits.scheduler(schedule.get("name", "linear"), optimizer, schedule.get("warmup", 0.0))
    state, control, rates = TrainerState(), TrainerControl(), []
    limits.on_train_begin(None, state, control)  # type: ignore[arg-type]
    while not control.should_training_stop:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        state.global_step += 1
        state.num_input_tokens_seen += tokens_a_step
        clock.now += seconds_a_step
        limits.on_step_end(None, state, control)  # type: ignore[arg-type]
    assert control.should_evaluate
    return rates


@given(st.integers(1, 40), st.integers(1, 500), st.floats(0.1, 30), st.integers(1, 50))
def test_the_first_limit_ends_the_run(steps: int, tokens: int, seconds: float, tokens_a_step: int) -> None:
    clock = Clock()
    made = len(run(Limits(steps, tokens, seconds, clock), clock, tokens_a_step, 1.0))
    assert made == min(steps, -(-tokens // tokens_a_step), max(1, -(-seconds // 1)))


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_the_schedule_ends_where_the_run_does(name: str) -> None:
    clock = Clock()
    by_tokens = run(Limits(1000, tokens=200, clock=clock), clock, 10, 1.0, name=name, warmup=0.2)
    by_steps = run(Limits(20, clock=clock), clock, 10, 1.0, name=name, warmup=0.2)
    assert len(by_tokens) == len(by_steps) == 20
    # The share that is over is known after a step, one step later than the number of the step.
    assert by_tokens[1:] == pytest.approx(by_steps[:-1], abs=1e-9)


def test_steps_alone_are_the_schedule_of_transformers() -> None:
    clock = Clock()
    assert run(Limits(4, clock=clock), clock, 1, 1.0) == pytest.approx([1.0, 0.75, 0.5, 0.25])

"""Budgets of a run beside its steps: so many tokens, or so many seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, get_scheduler

_TICKS = 10_000
"""Into how many steps a schedule is divided that does not know the number of its steps."""


class Limits(TrainerCallback):
    """Ends a run at the first of its limits, and says how much of the run is over.

    Args:
        steps: The most steps.
        tokens: The most tokens of training, without padding; None: no limit.
        seconds: The longest time of training; None: no limit.
        clock: For tests.
    """

    def __init__(
        self,
        steps: int,
        tokens: int | None = None,
        seconds: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.steps, self.tokens, self.seconds = steps, tokens, seconds
        self.share = 0.0
        self._clock = clock
        self._started = clock()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock."""
        self._started = self._clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Look at the limits; the step in which one is reached is the last."""
        shares = [state.global_step / self.steps]
        if self.tokens is not None:
            shares.append(state.num_input_tokens_seen / self.tokens)
        if self.seconds is not None:
            shares.append((self._clock() - self._started) / self.seconds)
        self.share = min(1.0, max(shares))
        if self.share >= 1:
            control.should_evaluate = True
            control.should_training_stop = True

    def scheduler(self, name: str, optimizer: Optimizer, warmup_ratio: float) -> LRScheduler:
        """A schedule that ends where the run does, whichever limit that is.

        Where steps are the only limit it is transformers' own, step by step.
        """
        if self.tokens is None and self.seconds is None:
            warmup = math.ceil(warmup_ratio * self.steps)
            return get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=self.steps)
        shape: Any = get_scheduler(
            name, optimizer, num_warmup_steps=round(warmup_ratio * _TICKS), num_training_steps=_TICKS
        )

        def at(factor: Callable[[int], float]) -> Callable[[int], float]:
            return lambda _: factor(round(self.share * _TICKS))

        return LambdaLR(optimizer, [at(factor) for factor in shape.lr_lambdas])

"""Budgets of a run besides its steps: tokens, or seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, get_scheduler

_TICKS = 10_000
"""Resolution of a schedule over a number of steps that is not known in advance."""


class Limits(TrainerCallback):
    """Ends a run at the first of its limits, and reports the share of the run that is over.

    Args:
        steps: Maximum number of steps.
        tokens: Maximum number of training tokens, without padding; None is no limit.
        seconds: Maximum duration of training in seconds; None is no limit.
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
        self._before = 0.0

    def state(self) -> dict[str, Any]:
        """Returns what :meth:`restore` takes."""
        return {"share": self.share, "seconds": self._elapsed()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of an earlier process. Time between the processes does not count."""
        self.share, self._before = state["share"], state["seconds"]

    def _elapsed(self) -> float:
        return self._before + self._clock() - self._started

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock."""
        self._started = self._clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Compare with the limits; the step in which one is reached is the last."""
        shares = [state.global_step / self.steps]
        if self.tokens is not None:
            shares.append(state.num_input_tokens_seen / self.tokens)
        if self.seconds is not None:
            shares.append(self._elapsed() / self.seconds)
        self.share = min(1.0, max(shares))
        if self.share >= 1:
            control.should_evaluate = True
            control.should_training_stop = True

    def scheduler(self, name: str, optimizer: Optimizer, warmup_ratio: float) -> LRScheduler:
        """Returns a schedule that ends with the run, whichever limit ends it.

        If steps are the only limit, it is the schedule of transformers.
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

"""A Trainer callback that records each step, and stops a run whose loss is not finite."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

StepListener = Callable[[int, Mapping[str, float | None]], None]
"""Called after each step with its number and its metrics (None stands for what is not finite)."""

_STEPS = {"train_loss": "train/loss", "learning_rate": "train/learning_rate", "grad_norm": "train/grad_norm"}
"""Lists with a value per step, and how the listener is told of them."""
_UNTIMED = 3
"""First steps that are excluded from the step time: allocator, thread pools and kernels warm up."""


class StepRecorder(TrainerCallback):
    """Collects loss, learning rate, gradient norm and time per step, and the validations.

    Args:
        listener: Called with every step and every validation.
    """

    def __init__(self, listener: StepListener) -> None:
        self.train_loss: list[float | None] = []
        self.learning_rate: list[float | None] = []
        self.grad_norm: list[float | None] = []
        self.validation: list[dict[str, Any]] = []
        self.seconds: list[float] = []
        self.diverged_at: int | None = None
        self._listener = listener
        self._started = 0.0

    def state(self) -> dict[str, Any]:
        """Returns what :meth:`restore` takes."""
        return {name: getattr(self, name) for name in (*_STEPS, "validation", "seconds")}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of an earlier process, and tell the listener of all its steps and validations."""
        for name, values in state.items():
            setattr(self, name, values)
        validation = {point["step"]: point for point in self.validation}
        for step, values in enumerate(zip(self.train_loss, self.learning_rate, self.grad_norm, strict=True), start=1):
            self._listener(step, dict(zip(_STEPS.values(), values, strict=True)))
            if step in validation:
                found = {name: value for name, value in validation[step].items() if name != "step"}
                self._listener(step, {f"validation/{name}": value for name, value in found.items()})

    @property
    def step_seconds(self) -> float:
        """The median duration of a step without the first few, in seconds; 0 if there was no step."""
        timed = self.seconds[min(_UNTIMED, len(self.seconds) // 2) :]
        return statistics.median(timed) if timed else 0.0

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock; the batch is already loaded."""
        self._started = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop the clock, and validate after the last step, whatever the interval."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._started)
        if state.global_step >= state.max_steps:
            control.should_evaluate = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Record the metrics of a step; stop at the first loss that is not finite."""
        if logs is None or "loss" not in logs:
            return
        loss = logs["loss"]
        step = {name: finite(logs.get(name)) for name in ("loss", "learning_rate", "grad_norm")}
        self.train_loss.append(step["loss"])
        self.learning_rate.append(step["learning_rate"])
        self.grad_norm.append(step["grad_norm"])
        if not math.isfinite(loss):
            self.diverged_at = state.global_step
            control.should_training_stop = True
            control.should_evaluate = control.should_save = False
        self._listener(state.global_step, {f"train/{name}": value for name, value in step.items()})

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Record a validation; the final evaluations do not come through here."""
        if metrics is None or "eval_loss" not in metrics:
            return
        found = split_metrics(metrics, "eval")
        self.validation.append({"step": state.global_step, **found})
        self._listener(state.global_step, {f"validation/{name}": value for name, value in found.items()})


def split_metrics(metrics: Mapping[str, float], prefix: str) -> dict[str, float | None]:
    """Returns the metrics of one split as ``{"accuracy": …, "loss": …}``, without the Trainer's timings."""
    named = {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items() if name.startswith(prefix)}
    timings = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
    return {name: finite(value) for name, value in named.items() if name not in timings}


def finite(value: float | None) -> float | None:
    """Returns the value as a float, or None if it is missing or not finite (JSON has no NaN)."""
    return float(value) if value is not None and math.isfinite(value) else None

"""A Trainer that writes checkpoints by time and resumes exactly, without pickles.

The Trainer's own resuming finds the position in the data. Its files are replaced: a file of :class:`Checkpoints` holds
all that changes during a run.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from lrlora.studies.methods import Method
from lrlora.studies.training.checkpoint import Checkpoints
from lrlora.studies.training.diagnostics import Origin, WatchingTrainer
from lrlora.studies.training.history import StepRecorder
from lrlora.studies.training.limits import Limits
from lrlora.studies.training.snapshots import Snapshots
from lrlora.studies.training.state import (
    model_state,
    optimizer_state,
    random_state,
    restore_model,
    restore_optimizer,
    restore_random,
)

_POSITION = (
    "global_step",
    "epoch",
    "num_input_tokens_seen",
    "max_steps",
    "train_batch_size",
    "logging_steps",
    "eval_steps",
    "save_steps",
)
"""Fields of the Trainer's state that a run goes on with."""


@dataclasses.dataclass
class Progress:
    """The parts of a run besides its model that change while it is trained.

    Attributes:
        method: The method that is trained.
        recorder: Its history.
        limits: Its limits.
        snapshots: Snapshots of its layers.
        seconds: Duration of the run in earlier processes, in seconds.
        peak_bytes: Peak memory in earlier processes.
        resumed_at: The steps after which the run was resumed.
    """

    method: Method
    recorder: StepRecorder
    limits: Limits
    snapshots: Snapshots
    seconds: float = 0.0
    peak_bytes: int = 0
    resumed_at: list[int] = dataclasses.field(default_factory=list)


class ResumableTrainer(WatchingTrainer):
    """A Trainer with checkpoints of its own.

    Attributes:
        progress: What changes during the run; has to be set before training.
        write: Takes the state at a checkpoint; None writes none.
    """

    progress: Progress
    write: Callable[[int, dict[str, Any]], None] | None = None
    _restored: dict[str, Any] | None = None

    def resume(self, state: dict[str, Any] | None) -> None:
        """Train from the start, or go on from the state of a checkpoint to the end."""
        self._restored = state
        if state is None:
            self.train()
            return
        folder = Path(str(self.args.output_dir))
        TrainerState(**state["position"]).save_to_json(str(folder / TRAINER_STATE_NAME))
        progress = self.progress
        progress.recorder.restore(state["recorder"])
        progress.limits.restore(state["limits"])
        progress.snapshots.restore(state["snapshots"])
        progress.seconds, progress.peak_bytes = state["seconds"], state["peak_bytes"]
        progress.resumed_at = [*state["resumed_at"], state["position"]["global_step"]]
        self.origin = Origin(**state["origin"]) if state["origin"] is not None else None
        self.train(resume_from_checkpoint=str(folder))

    # -- writing --------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if self.write is None or self.model is None:
            return
        progress, scaler = self.progress, self.accelerator.scaler
        self.write(
            self.state.global_step,
            {
                "position": {name: getattr(self.state, name) for name in _POSITION},
                "model": model_state(self.model),
                "method": progress.method.training_state(self.model),
                "optimizer": optimizer_state(self.optimizer),
                "scheduler": self.lr_scheduler.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
                "random": random_state(),
                "recorder": progress.recorder.state(),
                "limits": progress.limits.state(),
                "snapshots": progress.snapshots.state(),
                "resumed_at": progress.resumed_at,
                "origin": None if self.origin is None else dataclasses.asdict(self.origin),
            },
        )

    # -- reading: the Trainer calls these where it would read its own files ----------------------------------

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self._restored is not None and self.model is not None:
            restore_model(self.model, self._restored["model"])
            self.progress.method.restore_training_state(self.model, self._restored["method"])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self._restored is not None:
            restore_optimizer(self.optimizer, self._restored["optimizer"])
            self.lr_scheduler.load_state_dict(self._restored["scheduler"])

    def _load_scaler(self, checkpoint: str | None) -> None:
        if self._restored is not None and self._restored["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(self._restored["scaler"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if self._restored is not None:
            restore_random(self._restored["random"])


class CheckpointTimer(TrainerCallback):
    """Asks for a checkpoint after a step when the time has come, except after the last step.

    Args:
        checkpoints: How often.
        limits: Of the run; must precede this one among the callbacks.
        clock: For tests.
    """

    def __init__(
        self, checkpoints: Checkpoints, limits: Limits, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._interval, self._limits, self._clock = 60 * checkpoints.minutes, limits, clock
        self._last = clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for a checkpoint, if one is due."""
        if self._limits.share < 1 and self._clock() - self._last >= self._interval:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the next interval."""
        self._last = self._clock()

"""One run of one cell, from the seed to its record."""

from __future__ import annotations

import dataclasses
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, set_seed
from transformers.trainer_callback import PrinterCallback

from lrlora.studies.errors import StudyError
from lrlora.studies.kinds import Kind
from lrlora.studies.methods import Method, make_method
from lrlora.studies.record.predictions import FILE as PREDICTIONS
from lrlora.studies.record.predictions import save_predictions
from lrlora.studies.record.run_record import RunRecord
from lrlora.studies.spec.cells import Cell
from lrlora.studies.spec.study import Training
from lrlora.studies.training.checkpoint import Checkpoints
from lrlora.studies.training.diagnostics import WatchingTrainer
from lrlora.studies.training.encoding import encode_seen, encode_split, encode_training, kind_for
from lrlora.studies.training.history import StepListener, StepRecorder, split_metrics
from lrlora.studies.training.isolation import OneDeviceArguments, without_launcher_settings
from lrlora.studies.training.limits import Limits
from lrlora.studies.training.memory import PeakMemory, is_out_of_memory
from lrlora.studies.training.numerics import train_in_float32, weights_of
from lrlora.studies.training.resume import CheckpointTimer, Progress, ResumableTrainer
from lrlora.studies.training.snapshots import Snapshots
from lrlora.studies.training.starts import start_from_svd

_NORMS_KEPT = 10
"""Number of gradient norms that are recorded before a divergence."""

Record = dict[str, Any]
"""The fields of a :class:`lrlora.studies.record.run_record.RunRecord`."""


def run_cell(
    cell: Cell, adapter_folder: Path, listener: StepListener, checkpoints: Checkpoints | None = None
) -> Record:
    """Train and evaluate one cell.

    A loss that is not finite, a lack of memory and an exception in a method, a task or a basis are outcomes: they are
    in the record's ``status`` and ``reason``.

    Args:
        cell: The cell.
        adapter_folder: Receives the files of the run: the trained adapter, if the run finishes, and predictions.
        listener: Called with every step and validation, from the first; after a resume with those before it again.
        checkpoints: Where checkpoints are written, and read if the cell was interrupted. They are left there, for
            the caller to clear when the record is stored. None writes none.

    Raises:
        StudyError: If the cell cannot be run as declared.
        Exception: What the listener raises.
    """
    started = time.perf_counter()
    record = RunRecord.of(cell).plain()
    heard = _Listener(listener)
    run = _Run(cell, record, adapter_folder, heard, checkpoints)
    try:
        with without_launcher_settings():
            run.go(started)
    except StudyError:
        raise
    except Exception as error:
        if heard.raised is error:
            raise
        record |= {"status": "failed", "reason": _reason(error)}
    record["duration_seconds"] = run.seconds_before + time.perf_counter() - started
    return record


class _Listener:
    """Calls a listener, and remembers what it raised: that ends the run, and is no outcome of it."""

    def __init__(self, listener: StepListener) -> None:
        self._listener = listener
        self.raised: Exception | None = None

    def __call__(self, step: int, metrics: Mapping[str, float | None]) -> None:
        try:
            self._listener(step, metrics)
        except Exception as error:
            self.raised = error
            raise


def _reason(error: Exception) -> str:
    if is_out_of_memory(error):
        return f"out of memory: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
    return "".join(traceback.format_exception(error))


class _Run:
    """One run of a cell, which fills in its record."""

    def __init__(
        self, cell: Cell, record: Record, folder: Path, listener: StepListener, checkpoints: Checkpoints | None
    ) -> None:
        self.cell, self.record, self.folder, self.checkpoints = cell, record, folder, checkpoints
        self.training = cell.variant.training
        self.recorder = StepRecorder(listener)
        self.seconds_before = 0.0

    def go(self, started: float) -> None:
        """Train and evaluate.

        Args:
            started: Start of the run by ``time.perf_counter``.
        """
        from lrlora.analysis import count_parameters, layer_report, stable_rank

        cell, record, recorder = self.cell, self.record, self.recorder
        method = make_method(cell.variant.config, cell.variant.name)
        kind = kind_for(cell.task, cell.backbone)
        memory = PeakMemory(torch.cuda.is_available())
        weights = weights_of(self.training)
        # Seeded twice, so that a head that is drawn is the same for all variants of a seed, and so is the beginning
        # of what each adapter draws, however much the other drew.
        set_seed(cell.seed)
        backbone = kind.load(weights)
        set_seed(cell.seed)
        model = method.adapt(backbone, kind.task_type)
        train_in_float32(model)
        updates = kind.known_updates()
        if self.training.start == "svd":
            start_from_svd(model, updates)
        record["parameters"] = dataclasses.asdict(count_parameters(model))

        with tempfile.TemporaryDirectory(prefix="lrlora-") as folder:
            trainer = self._trainer(kind, method, model, folder)
            progress = trainer.progress
            if (checkpoints := self.checkpoints) is not None:

                def write(step: int, state: dict[str, Any]) -> None:
                    seconds = progress.seconds + time.perf_counter() - started
                    peak = max(progress.peak_bytes, memory.read())
                    checkpoints.save(cell.id, step, state | {"seconds": seconds, "peak_bytes": peak})

                trainer.write = write
            try:
                trainer.resume(None if checkpoints is None else checkpoints.load(cell.id))
                if recorder.diverged_at is None:
                    record |= self._evaluate(kind, trainer)
            finally:
                self.seconds_before = progress.seconds
                record |= self._course(trainer, kind.counts_tokens) | {"resumed_at": progress.resumed_at}
                record |= {"peak_memory_bytes": max(progress.peak_bytes, memory.read())}
                record |= {"peak_memory_source": memory.source}
        if recorder.diverged_at is None and any(value is None for value in record["metrics"].values()):
            recorder.diverged_at = len(recorder.train_loss)  # the last update broke it, and no training loss came after
        if recorder.diverged_at is not None:
            reason = f"the loss is not finite at step {recorder.diverged_at}"
            record |= {"status": "diverged", "diverged_at": recorder.diverged_at, "reason": reason, "metrics": {}}
            record |= {"train_metrics": {}, "divergence": _divergence(trainer, recorder), "predictions": None}
            (self.folder / PREDICTIONS).unlink(missing_ok=True)
            return
        lines = layer_report(model, pretrained=lambda: kind.load(weights))
        known = {module: {"target_stable_rank": stable_rank(update)} for module, update in updates.items()}
        record["layers"] = [dataclasses.asdict(line) | known.get(line.module, {}) for line in lines]
        method.save(model, self.folder)
        record["status"] = "finished"

    def _evaluate(self, kind: Kind, trainer: Trainer) -> Record:
        """Returns the final metrics, and those of as many training examples as the validation split has."""
        cell, training = self.cell, self.training
        if training.test_examples == 0:
            # A tuning stage: the test split is not used, and the last validation stands for it.
            last = {key: value for key, value in self.recorder.validation[-1].items() if key != "step"}
            return {"judged_on": "validation", "metrics": last}
        test = encode_split(cell.task, cell.backbone, training.max_length, "test", training.test_examples)
        count = min(len(trainer.train_dataset), len(trainer.eval_dataset))
        seen = encode_seen(cell.task, cell.backbone, training.max_length, count, cell.seed)
        found = trainer.predict(test, metric_key_prefix="test")
        each = kind.per_example(found.predictions, found.label_ids)
        return {
            "chance": kind.chance("test"),
            "metrics": split_metrics(found.metrics or {}, "test"),
            "predictions": save_predictions(self.folder, each.loss, each.correct),
            "train_metrics": split_metrics(trainer.evaluate(seen, metric_key_prefix="train"), "train"),
        }

    def _course(self, trainer: Trainer, counts_tokens: bool) -> Record:
        """Returns the history of the run."""
        recorder, examples = self.recorder, len(trainer.train_dataset)
        batch = self.training.batch_size * self.training.gradient_accumulation
        epochs, rest = divmod(len(recorder.seconds) * batch, -(-examples // batch) * batch)
        tokens = trainer.state.num_input_tokens_seen if counts_tokens else 0
        seconds = sum(recorder.seconds)
        return {
            "train_loss": recorder.train_loss,
            "learning_rate": recorder.learning_rate,
            "grad_norm": recorder.grad_norm,
            "validation": recorder.validation,
            "examples_seen": epochs * examples + rest,
            "tokens_seen": tokens,
            "tokens_per_second": tokens / seconds if tokens and seconds else None,
            "step_seconds": recorder.step_seconds,
        }

    def _trainer(self, kind: Kind, method: Method, model: torch.nn.Module, folder: str) -> ResumableTrainer:
        cell, training = self.cell, self.training
        length, cuda = training.max_length, torch.cuda.is_available()
        arguments = OneDeviceArguments(
            output_dir=folder,
            max_steps=training.steps,
            per_device_train_batch_size=training.batch_size,
            per_device_eval_batch_size=kind.evaluation_batch_size(training.eval_batch_size, length),
            gradient_accumulation_steps=training.gradient_accumulation,
            activation_checkpointing=training.gradient_checkpointing,
            activation_checkpointing_kwargs={"use_reentrant": False} if training.gradient_checkpointing else None,
            bf16=training.precision == "bf16",
            fp16=training.precision == "fp16",
            max_grad_norm=training.max_grad_norm,
            seed=cell.seed,
            data_seed=cell.seed,
            eval_strategy="steps",
            eval_steps=training.eval_every or training.steps,
            save_strategy="no",
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to="none",
            disable_tqdm=True,
            include_num_input_tokens_seen="non_padding" if kind.counts_tokens else "no",
            remove_unused_columns=False,  # the rows of a kind hold what its collator needs
            use_cpu=not cuda,
            dataloader_pin_memory=cuda,
            label_names=["labels"],
        )
        limits = Limits(training.steps, training.tokens, training.seconds)
        snapshots = Snapshots(model, limits, self.record["snapshots"])
        timers = [] if self.checkpoints is None else [CheckpointTimer(self.checkpoints, limits)]
        trainer = ResumableTrainer(
            model=model,
            args=arguments,
            train_dataset=encode_training(cell.task, cell.backbone, length, training.train_examples, cell.seed),
            eval_dataset=encode_split(cell.task, cell.backbone, length, "validation", training.validation_examples),
            data_collator=kind.collator(),
            compute_loss_func=kind.loss,
            compute_metrics=lambda found: _metrics(kind, model, found.predictions, found.label_ids),
            preprocess_logits_for_metrics=kind.scores,
            callbacks=[self.recorder, limits, snapshots, *timers, *method.callbacks(model, training.steps)],
            optimizers=_optimizers(method, model, training, limits),
        )
        trainer.remove_callback(PrinterCallback)  # the runner shows progress
        trainer.progress = Progress(method, self.recorder, limits, snapshots)
        return trainer


def _metrics(kind: Kind, model: torch.nn.Module, scores: Any, labels: Any) -> dict[str, float]:
    found = kind.compute_metrics(scores, labels)
    return found | kind.model_metrics(model, found)


def _divergence(trainer: WatchingTrainer, recorder: StepRecorder) -> Record | None:
    """Returns the origin of a divergence, and the gradient norms of the steps before."""
    if trainer.origin is None:
        trainer.locate(recorder.diverged_at or 0)  # the last update broke it, and no step came after
    if trainer.origin is None:
        return None
    before = recorder.grad_norm[: trainer.origin.step - 1][-_NORMS_KEPT:]
    return dataclasses.asdict(trainer.origin) | {"grad_norms_before": before}


def _optimizers(
    method: Method, model: torch.nn.Module, training: Training, limits: Limits
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    groups = method.parameter_groups(model, training.learning_rate, training.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=training.learning_rate, weight_decay=training.weight_decay)
    return optimizer, limits.scheduler(training.scheduler, optimizer, training.warmup_ratio)

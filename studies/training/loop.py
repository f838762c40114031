"""One run of one cell, from the seed to its record."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from lrlora.studies.kinds import Kind
from lrlora.studies.methods import Method, make_method
from lrlora.studies.spec.cells import Cell
from lrlora.studies.spec.study import Training
from lrlora.studies.training.diagnostics import WatchingTrainer
from lrlora.studies.training.encoding import encode_seen, encode_split, encode_training, kind_for
from lrlora.studies.training.history import StepListener, StepRecorder, split_metrics
from lrlora.studies.training.limits import Limits
from lrlora.studies.training.memory import PeakMemory, is_out_of_memory
from lrlora.studies.training.snapshots import Snapshot, Snapshots

_NORMS_KEPT = 10
"""Gradient norms that are kept of the steps before a run began to diverge."""

Record = dict[str, Any]
"""What is known of a run; the keys are those of result.json."""


def blank_record(cell: Cell) -> Record:
    """The record of a cell before anything is known of its outcome."""
    variant = cell.variant
    return {
        "cell": cell.id,
        "study": cell.study,
        "variant": variant.name,
        "axes": variant.axes,
        "method": variant.config["method"],
        "seed": cell.seed,
        "task": cell.task if cell.task["options"] else cell.task["name"],
        "backbone": cell.backbone,
        "config": variant.config,
        "training": variant.training.resolved(),
        "status": "failed",
        "diverged_at": None,
        "divergence": None,
        "reason": None,
        "judged_on": "test",
        "chance": None,
        "metrics": {},
        "train_metrics": {},
        "parameters": {},
        "step_seconds": 0.0,
        "peak_memory_bytes": 0,
        "peak_memory_source": "",
        "train_loss": [],
        "learning_rate": [],
        "grad_norm": [],
        "validation": [],
        "examples_seen": 0,
        "tokens_seen": 0,
        "tokens_per_second": None,
        "layers": [],
        "snapshots": [],
        "mlflow_run_id": "",
        "duration_seconds": 0.0,
    }


def run_cell(cell: Cell, adapter_folder: Path, listener: StepListener) -> Record:
    """Train and judge one cell.

    A loss that is not finite and a lack of memory are outcomes, not errors: they are in the record's ``status`` and
    ``reason``.

    Args:
        cell: What to run.
        adapter_folder: Where the trained adapter is saved; stays empty if the run does not finish.
        listener: Told of every step and validation.
    """
    started = time.perf_counter()
    record = blank_record(cell)
    try:
        _train(cell, record, adapter_folder, listener)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        record |= {"status": "failed", "reason": f"out of memory: {str(error).strip().splitlines()[0]}"}
    record["duration_seconds"] = time.perf_counter() - started
    return record


def _train(cell: Cell, record: Record, adapter_folder: Path, listener: StepListener) -> None:
    from lrlora.analysis import count_parameters, layer_report

    training = cell.variant.training
    method = make_method(cell.variant.config, cell.variant.name)
    kind = kind_for(cell.task, cell.backbone)
    cuda = torch.cuda.is_available()
    memory = PeakMemory(cuda)
    # Seeded twice, so that a head that is drawn is the same for all variants of a seed, and so is the beginning of
    # what each adapter draws, however much the other drew.
    set_seed(cell.seed)
    backbone = kind.load()
    set_seed(cell.seed)
    model = method.adapt(backbone, kind.task_type)
    record["parameters"] = dataclasses.asdict(count_parameters(model))

    recorder = StepRecorder(listener)
    with tempfile.TemporaryDirectory(prefix="lrlora-") as folder:
        trainer = _trainer(cell, kind, method, model, recorder, record["snapshots"], folder, cuda)
        try:
            trainer.train()
            if recorder.diverged_at is None:
                record |= _judge(cell, kind, trainer, recorder)
        finally:
            record |= _course(trainer, recorder, training.batch_size, kind.counts_tokens)
            record |= {"peak_memory_bytes": memory.read(), "peak_memory_source": memory.source}
    if recorder.diverged_at is None and any(value is None for value in record["metrics"].values()):
        recorder.diverged_at = len(recorder.train_loss)  # the last update broke it, and no training loss came after
    if recorder.diverged_at is not None:
        reason = f"the loss is not finite at step {recorder.diverged_at}"
        record |= {"status": "diverged", "diverged_at": recorder.diverged_at, "reason": reason, "metrics": {}}
        record |= {"train_metrics": {}, "divergence": _divergence(trainer, recorder)}
        return
    lines = layer_report(model, pretrained=kind.load)
    record["layers"] = [dataclasses.asdict(line) for line in lines]
    record["status"] = "finished"
    method.save(model, adapter_folder)


def _judge(cell: Cell, kind: Kind, trainer: Trainer, recorder: StepRecorder) -> Record:
    """The final figures, and those of as many training examples as the validation split has."""
    training = cell.variant.training
    if training.test_examples == 0:
        # A tuning stage: the test split stays unseen, and the last validation is what the run is judged by.
        last = {key: value for key, value in recorder.validation[-1].items() if key != "step"}
        return {"judged_on": "validation", "metrics": last}
    test = encode_split(cell.task, cell.backbone, training.max_length, "test", training.test_examples)
    count = min(len(trainer.train_dataset), len(trainer.eval_dataset))
    seen = encode_seen(cell.task, cell.backbone, training.max_length, count, cell.seed)
    return {
        "chance": kind.chance("test"),
        "metrics": split_metrics(trainer.evaluate(test, metric_key_prefix="test"), "test"),
        "train_metrics": split_metrics(trainer.evaluate(seen, metric_key_prefix="train"), "train"),
    }


def _course(trainer: Trainer, recorder: StepRecorder, batch_size: int, counts_tokens: bool) -> Record:
    """What went by during the run."""
    epochs, rest = divmod(len(recorder.seconds) * batch_size, _padded(len(trainer.train_dataset), batch_size))
    tokens = trainer.state.num_input_tokens_seen if counts_tokens else 0
    seconds = sum(recorder.seconds)
    return {
        "train_loss": recorder.train_loss,
        "learning_rate": recorder.learning_rate,
        "grad_norm": recorder.grad_norm,
        "validation": recorder.validation,
        "examples_seen": epochs * len(trainer.train_dataset) + rest,
        "tokens_seen": tokens,
        "tokens_per_second": tokens / seconds if tokens and seconds else None,
        "step_seconds": recorder.step_seconds,
    }


def _padded(examples: int, batch_size: int) -> int:
    """An epoch's examples if its last batch were whole."""
    return -(-examples // batch_size) * batch_size


def _divergence(trainer: WatchingTrainer, recorder: StepRecorder) -> Record | None:
    """Where it began, and the gradient norms of the steps before."""
    if trainer.origin is None:
        trainer.look(recorder.diverged_at or 0)  # the last update broke it: no step came after to be looked at
    if trainer.origin is None:
        return None
    before = recorder.grad_norm[: trainer.origin.step - 1][-_NORMS_KEPT:]
    return dataclasses.asdict(trainer.origin) | {"grad_norms_before": before}


def _trainer(
    cell: Cell,
    kind: Kind,
    method: Method,
    model: torch.nn.Module,
    recorder: StepRecorder,
    snapshots: list[Snapshot],
    folder: str,
    cuda: bool,
) -> WatchingTrainer:
    training = cell.variant.training
    length = training.max_length
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=training.steps,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=kind.judged_batch(training.eval_batch_size, length),
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
    looks = Snapshots(model, limits, snapshots)
    trainer = WatchingTrainer(
        model=model,
        args=arguments,
        train_dataset=encode_training(cell.task, cell.backbone, length, training.train_examples, cell.seed),
        eval_dataset=encode_split(cell.task, cell.backbone, length, "validation", training.validation_examples),
        data_collator=kind.collator(),
        compute_loss_func=kind.loss,
        compute_metrics=lambda found: kind.figures(found.predictions, found.label_ids),
        preprocess_logits_for_metrics=kind.kept,
        callbacks=[recorder, limits, looks, *method.callbacks(model, training.steps)],
        optimizers=_optimizers(method, model, training, limits),
    )
    trainer.remove_callback(PrinterCallback)  # the runner shows progress
    return trainer


def _optimizers(
    method: Method, model: torch.nn.Module, training: Training, limits: Limits
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    groups = method.parameter_groups(model, training.learning_rate, training.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=training.learning_rate, weight_decay=training.weight_decay)
    return optimizer, limits.scheduler(training.scheduler, optimizer, training.warmup_ratio)

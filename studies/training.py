"""One run of one cell, from the seed to its record."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from lrlora.studies.backbones import load_model
from lrlora.studies.cells import Cell
from lrlora.studies.design import Training
from lrlora.studies.encoding import encode_split, encode_training, task_of, tokenizer_of
from lrlora.studies.limits import Limits
from lrlora.studies.memory import PeakMemory, is_out_of_memory
from lrlora.studies.methods import Method, make_method
from lrlora.studies.recorder import StepListener, StepRecorder, split_metrics
from lrlora.studies.snapshots import Snapshot, Snapshots

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
        "task": cell.task["name"],
        "backbone": cell.backbone,
        "config": variant.config,
        "training": variant.training.resolved(),
        "status": "failed",
        "diverged_at": None,
        "reason": None,
        "judged_on": "test",
        "metrics": {},
        "parameters": {},
        "step_seconds": 0.0,
        "peak_memory_bytes": 0,
        "peak_memory_source": "",
        "train_loss": [],
        "learning_rate": [],
        "grad_norm": [],
        "validation": [],
        "tokens_seen": 0,
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
    cuda = torch.cuda.is_available()
    memory = PeakMemory(cuda)
    # Seeded twice, so that the classifier head is the same for all variants of a seed, and so is the beginning of
    # what each adapter draws, however much the other drew.
    set_seed(cell.seed)
    backbone = load_model(cell.backbone, task_of(cell.task).labels)
    set_seed(cell.seed)
    model = method.adapt(backbone)
    record["parameters"] = dataclasses.asdict(count_parameters(model))

    recorder = StepRecorder(listener)
    with tempfile.TemporaryDirectory(prefix="lrlora-") as folder:
        trainer = _trainer(cell, method, model, recorder, record["snapshots"], folder, cuda)
        try:
            trainer.train()
            if recorder.diverged_at is None and training.test_examples == 0:
                # A tuning stage: the test split stays unseen, and the last validation is what the run is judged by.
                record["judged_on"] = "validation"
                record["metrics"] = {key: value for key, value in recorder.validation[-1].items() if key != "step"}
            elif recorder.diverged_at is None:
                test = encode_split(cell.task, cell.backbone, training.max_length, "test", training.test_examples)
                record["metrics"] = split_metrics(trainer.evaluate(test, metric_key_prefix="test"), "test")
        finally:
            record |= {
                "train_loss": recorder.train_loss,
                "learning_rate": recorder.learning_rate,
                "grad_norm": recorder.grad_norm,
                "validation": recorder.validation,
                "tokens_seen": trainer.state.num_input_tokens_seen,
                "step_seconds": recorder.step_seconds,
                "peak_memory_bytes": memory.read(),
                "peak_memory_source": memory.source,
            }
    if recorder.diverged_at is None and any(value is None for value in record["metrics"].values()):
        recorder.diverged_at = len(recorder.train_loss)  # the last update broke it, and no training loss came after
    if recorder.diverged_at is not None:
        reason = f"the loss is not finite at step {recorder.diverged_at}"
        record |= {"status": "diverged", "diverged_at": recorder.diverged_at, "reason": reason, "metrics": {}}
        return
    lines = layer_report(model, pretrained=lambda: load_model(cell.backbone, task_of(cell.task).labels))
    record["layers"] = [dataclasses.asdict(line) for line in lines]
    record["status"] = "finished"
    method.save(model, adapter_folder)


def _trainer(
    cell: Cell,
    method: Method,
    model: torch.nn.Module,
    recorder: StepRecorder,
    snapshots: list[Snapshot],
    folder: str,
    cuda: bool,
) -> Trainer:
    training = cell.variant.training
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=training.steps,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=training.eval_batch_size,
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
        include_num_input_tokens_seen="non_padding",
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        label_names=["labels"],
    )
    length = training.max_length
    limits = Limits(training.steps, training.tokens, training.seconds)
    looks = Snapshots(model, limits, snapshots)
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=encode_training(cell.task, cell.backbone, length, training.train_examples, cell.seed),
        eval_dataset=encode_split(cell.task, cell.backbone, length, "validation", training.validation_examples),
        data_collator=DataCollatorWithPadding(tokenizer_of(cell.backbone)),
        compute_metrics=_accuracy,
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


def _accuracy(prediction: Any) -> Mapping[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(axis=-1) == prediction.label_ids).mean())}

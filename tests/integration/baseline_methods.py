"""Every method with settings that suit the tiny models, and ways to train it for a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from family_models import TEXT
from torch import Tensor, nn

from lrlora.studies.methods import Method, make_method

BASELINES: dict[str, dict[str, Any]] = {
    "lora": {"r": 2},
    "rslora": {"r": 2},
    "dora": {"r": 2},
    "pissa": {"r": 2},
    "adalora": {"r": 2},
    "vera": {"r": 8},
    "randlora": {"r": 4},
    "loha": {"r": 2},
    "hira": {"r": 2},
    "lokr": {"r": 2},
    "miss": {"r": 4},
    "c3a": {"block_size": 4},
    "oft": {"oft_block_size": 4},
    "hra": {"r": 4},
    "ia3": {},
    "frozen": {},
    "full": {},
}
SEED = 7


def method_of(name: str, **changes: Any) -> Method:
    """The method of a name with its settings for tiny models."""
    return make_method({"method": name, **BASELINES.get(name, {"r": 2}), **changes}, "test")


def adapt(model: nn.Module, name: str, **changes: Any) -> nn.Module:
    """Adapt a model from one seed, without a task."""
    torch.manual_seed(SEED)
    return method_of(name, **changes).adapt(model, task_type=None)


@torch.no_grad()
def disturb(model: nn.Module) -> None:
    """Put every trained parameter where training might: off its start, different in every entry."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def classifier(family: str) -> nn.Module:
    """A tiny sequence classifier, the same at every call."""
    torch.manual_seed(0)
    if family == "bert":
        return hf.BertForSequenceClassification(hf.BertConfig(**TEXT)).eval()
    return hf.LlamaForSequenceClassification(hf.LlamaConfig(**TEXT)).eval()


def batch() -> dict[str, Tensor]:
    """Four sequences with labels."""
    tokens = torch.randint(3, 64, (4, 7), generator=torch.Generator().manual_seed(1))
    return {"input_ids": tokens, "labels": torch.tensor([0, 1, 0, 1])}


class Sequences(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The batch of :func:`batch` as a data set, over and over."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        whole = batch()
        return {name: values[index % 4] for name, values in whole.items()}


def train(method: Method, model: nn.Module, folder: Path, steps: int, accumulation: int = 1) -> list[float]:
    """Train as studies do, by transformers' Trainer with the method's callbacks; gives the losses."""
    arguments = hf.TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulation,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        label_names=["labels"],
        dataloader_pin_memory=False,
    )
    optimizer = torch.optim.AdamW(method.parameter_groups(model, 1e-2, 0.0))
    trainer = hf.Trainer(
        model=model,
        args=arguments,
        train_dataset=Sequences(),
        callbacks=method.callbacks(model, steps),
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
    )
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

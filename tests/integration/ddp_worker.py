"""What test_training_frameworks.py starts in two processes: `torchrun --nproc-per-node 2 ddp_worker.py FOLDER`.

Both processes run everything; the first writes what it found to FOLDER/found.json. Nothing is judged here: the test
says what has to hold.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers as hf
from accelerate import PartialState
from peft import get_peft_model
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lrlora import LRLoraConfig, parameter_groups

WIDTH, BATCH, LAYERS = 12, 16, 3
VARIANTS: dict[str, dict[str, Any]] = {
    "own": {},
    "at the start": {"init_weights": True},
    "shared": {"sharing": "all", "grid": "learned"},
    "shared by halves": {"sharing": "parts:bandwidth+amplitude", "bandwidth_parameterization": "softplus"},
    "tables": {"basis": "gaussian", "engine": "tabulated"},
    "rank 0": {"rank_pattern": {"2": 0}},
    "rank 0, shared": {"rank_pattern": {"2": 0}, "sharing": "all"},
    "factored": {"engine": "factored", "input_scale": 1.0},
}


def adapted(dtype: torch.dtype, **fields: Any) -> nn.Module:
    """The same small model in every process."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        layers += [nn.Linear(WIDTH, WIDTH), nn.Tanh()]
    names = [str(2 * i) for i in range(LAYERS)]
    settings = {"r": 2, "target_modules": names, "init_weights": False, "num_grid_points": 8, **fields}
    return get_peft_model(nn.Sequential(*layers), LRLoraConfig(**settings)).to(dtype).train()


def batch(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, BATCH, WIDTH, generator=generator, dtype=torch.float64).to(dtype)
    return x, y


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (model(x) - y).square().mean()


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name.removeprefix("module."): p for name, p in model.named_parameters() if p.requires_grad}


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in trainable(model).items()}


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest relative difference of a tensor, by norms; infinite where one has what the other lacks."""
    if one.keys() != other.keys() or any(one[name] is None or other[name] is None for name in one):
        return float("inf")
    found = 0.0
    for name, tensor in one.items():
        size = float(tensor.norm())
        difference = float((tensor - other[name]).norm())
        found = max(found, difference / size if size else (difference and float("inf")))
    return found


def same_everywhere(model: nn.Module) -> bool:
    """Whether all processes hold the same trainable parameters, bit by bit."""
    flat = torch.cat([p.detach().reshape(-1).double() for p in trainable(model).values()])
    copies = [torch.empty_like(flat) for _ in range(dist.get_world_size())]
    dist.all_gather(copies, flat)
    return all(torch.equal(copies[0], held) for held in copies)


def with_gradients(fields: dict[str, Any], dtype: torch.dtype, micro_batches: int) -> float:
    """How far the gradients of two processes, each with its part, are from those of one with the whole batch."""
    alone = adapted(dtype, **fields)
    together = DistributedDataParallel(copy.deepcopy(alone), find_unused_parameters=False)
    x, y = batch(dtype)
    loss_of(alone, x, y).backward()
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    parts = list(zip(x[mine].chunk(micro_batches), y[mine].chunk(micro_batches), strict=True))
    with together.no_sync():
        for part in parts[:-1]:
            (loss_of(together, *part) / micro_batches).backward()
    (loss_of(together, *parts[-1]) / micro_batches).backward()
    return largest_difference(gradients(alone), gradients(together))


def with_steps(fields: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """How far the parameters are after some steps of AdamW; whether all processes agree; whether they moved at all."""
    alone = adapted(dtype, **fields)
    before = {name: p.detach().clone() for name, p in trainable(alone).items()}
    together = DistributedDataParallel(copy.deepcopy(alone), find_unused_parameters=False)
    x, y = batch(dtype)
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    for model, part in ((alone, (x, y)), (together, (x[mine], y[mine]))):
        optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-2))
        for _ in range(5):
            optimizer.zero_grad()
            loss_of(model, *part).backward()
            optimizer.step()
    return {
        "difference": largest_difference(trainable(alone), trainable(together)),
        "same everywhere": same_everywhere(together),
        "moved": all(not torch.equal(p, before[name]) for name, p in trainable(together).items()),
    }


def with_trainer(folder: Path) -> dict[str, Any]:
    """Trainer for a few steps, with accumulation; whether all processes end alike, and what moved."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    base = hf.BertForSequenceClassification(hf.BertConfig(**small, vocab_size=64, pad_token_id=0))
    model = get_peft_model(base, LRLoraConfig(r=2, sharing="all", task_type="SEQ_CLS", num_grid_points=8))
    before = {name: p.detach().clone() for name, p in trainable(model).items()}
    rows = [{"input_ids": torch.randint(3, 64, (6,)), "labels": torch.tensor(i % 2)} for i in range(32)]
    arguments = hf.TrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=4,
        learning_rate=1e-2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        ddp_find_unused_parameters=False,
        report_to="none",
        save_strategy="steps",
        save_steps=4,
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = hf.Trainer(model=model, args=arguments, train_dataset=rows)
    steps = trainer.train().global_step
    return {
        "steps": steps,
        "processes": arguments.world_size,
        "same everywhere": same_everywhere(model),
        "unmoved": [name for name, p in trainable(model).items() if torch.equal(p, before[name])],
    }


def main(folder: Path) -> None:
    PartialState(cpu=True, timeout=timedelta(seconds=60))
    jobs: dict[str, Callable[[], Any]] = {}
    for name, fields in VARIANTS.items():
        jobs[f"gradients {name}"] = lambda fields=fields: with_gradients(fields, torch.float64, 1)
        jobs[f"accumulated {name}"] = lambda fields=fields: with_gradients(fields, torch.float64, 4)
        jobs[f"steps {name}"] = lambda fields=fields: with_steps(fields, torch.float64)
    jobs["gradients in float32"] = lambda: with_gradients({}, torch.float32, 2)
    jobs["trainer"] = lambda: with_trainer(folder)
    found = {name: job() for name, job in jobs.items()}
    if dist.get_rank() == 0:
        (folder / "found.json").write_text(json.dumps({"processes": dist.get_world_size(), **found}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

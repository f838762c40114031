"""A short training run with each engine, whose losses test_pinned_losses.py compares bit by bit.

As a script, ``python pinned_run.py``, it prints the losses as JSON; it is started in processes of its own.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import torch
from peft import get_peft_model
from sklearn.datasets import load_digits
from torch import nn

from lrlora import LRLoraConfig, parameter_groups
from lrlora.engines import ENGINES, native

ALIASES = ("factored",)
STEPS, BATCH = 10, 64


def engines() -> list[str]:
    """Names of the engines, without aliases."""
    return [name for name in ENGINES.names() if name not in ALIASES]


def machine() -> str:
    """What the last bits of a sum depend on: PyTorch's build, the processor, and whether passes are native."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    processor = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )
    passes = "eager" if native.library() is None else "native"
    width = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {platform.machine()}, {width}, {processor}, {passes}"


def losses(engine: str) -> list[str]:
    """Trains adapters of two layers on handwritten digits; returns the loss of every step, as a hexadecimal number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        data = load_digits()
        images = torch.tensor(data.images / 16).float().flatten(1)
        labels = torch.tensor(data.target)
        base = nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 10))
        # Away from the start, so that φ is bent; yet monomials can still do it.
        config = LRLoraConfig(r=2, target_modules=["0", "2"], init_weights=False, input_scale=8.0, engine=engine)
        model = get_peft_model(base, config)
        optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-2))
        found = []
        for step in range(STEPS):
            rows = slice(step * BATCH, (step + 1) * BATCH)
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item().hex())
        return found
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    print(json.dumps({engine: losses(engine) for engine in engines()}))

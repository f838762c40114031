"""Shared by the tests of exports: adapters with random weights, and processes without this package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Make = Callable[[str], nn.Module]
Inputs = Callable[[str], dict[str, Any]]
BENT: dict[str, Any] = {
    "r": 2, "lora_alpha": 200, "init_weights": False, "num_grid_points": 6, "residual": False,
    "amplitude_init": "small:0.1",
}  # fmt: skip
"""An adapter whose φ bends: the rank of ΔW is much higher than that of BA."""


def logits(model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def train_factors(model: nn.Module, seed: int = 0) -> nn.Module:
    """Samples every A and B, and leaves φ linear."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name and parameter.ndim > 1 and "amplitude" not in name:
                nn.init.normal_(parameter, std=0.1)
    return model


def without_lrlora(code: str) -> str:
    """Runs code in a process that cannot import this package, and returns what it printed."""
    guard = "import sys; sys.modules['lrlora'] = None; import warnings; warnings.simplefilter('error')\n"
    ignore = "warnings.filterwarnings('ignore', category=FutureWarning)\n"
    done = subprocess.run([sys.executable, "-c", guard + ignore + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def close(found: nn.Module, expected: nn.Module, inputs: dict[str, Any], rtol: float = 1e-4) -> None:
    torch.testing.assert_close(logits(found, inputs), logits(expected, inputs), rtol=rtol, atol=rtol / 10)

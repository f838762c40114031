"""The device of these tests, and a small pretrained model on it.

`LRLORA_GPU_TESTS_DEVICE=cpu` runs them on the CPU, to see that the tests themselves work.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

HERE = Path(__file__).parent
DEVICE = os.environ.get("LRLORA_GPU_TESTS_DEVICE", "cuda")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("gpu")
            # Libraries warn of what a GPU has and lacks. Warnings of our own remain errors.
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.filterwarnings("error:::lrlora"))


@pytest.fixture(scope="session", autouse=True)
def device() -> str:
    """``cuda``, or what the environment names."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.fail(f"PyTorch {torch.__version__} finds no CUDA device; see docs/gpu.md", pytrace=False)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic products need, before the first
    return DEVICE


@pytest.fixture
def no_host_reads(device: str, host_reads: Any) -> Callable[[], Any]:
    """Makes a context in which reading a value of the device is an error."""

    @contextmanager
    def context() -> Iterator[None]:
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
            try:
                yield
            finally:
                torch.cuda.set_sync_debug_mode("default")
        else:
            with host_reads:
                yield
            assert host_reads.found == []

    return context


@pytest.fixture
def minilm() -> Callable[[], nn.Module]:
    """Makes copies of MiniLM with a new head, on the CPU and without dropout, so that devices can be compared."""
    return lambda: copy.deepcopy(_minilm())


@cache
def _minilm() -> nn.Module:
    from lrlora.studies.models.backbones import load_model

    torch.manual_seed(0)
    model: nn.Module = load_model("minilm", ("no", "yes"))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model

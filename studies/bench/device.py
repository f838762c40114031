"""The device that a benchmark runs on."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lrlora.registry import UnknownNameError
from lrlora.studies.errors import StudyError
from lrlora.studies.training.memory import PeakMemory

DEVICES = ("cpu", "cuda")


def check_device(name: str) -> str:
    """Returns the name of a device that is there.

    Raises:
        UnknownNameError: It is none of :data:`DEVICES`.
        StudyError: It is ``cuda``, and PyTorch finds no such device.
    """
    if name not in DEVICES:
        raise UnknownNameError("value of --device", name, DEVICES)
    if name == "cuda" and not torch.cuda.is_available():
        raise StudyError(f"--device cuda: PyTorch {torch.__version__} finds no CUDA device on this machine")
    return name


def finish(device: str) -> None:
    """Waits until a device has done what it was given, so that the time of a step is that of its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def memory_of(step: Callable[[], object]) -> float:
    """Returns the most that a step needs on CUDA above what was allocated before it, in MiB."""
    held, memory = torch.cuda.memory_allocated(), PeakMemory(cuda=True)
    step()
    return (memory.read() - held) / (1 << 20)

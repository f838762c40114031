"""Keeps the environment out of a run: one device, and no settings but those of the study."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from transformers import TrainingArguments

_PREFIXES = (
    "ACCELERATE_",
    "DEEPSPEED_",
    "FP8_",
    "FSDP_",
    "MEGATRON_LM_",
    "MV2_COMM_WORLD_",
    "OMPI_COMM_WORLD_",
    "PARALLELISM_CONFIG_",
    "PMI_",
    "TORCHELASTIC_",
)
_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@contextlib.contextmanager
def without_launcher_settings() -> Iterator[None]:
    """Hide the variables by which accelerate and launchers change precision, sharding and the number of processes.

    What is set inside is gone afterwards, and what was set before is there again.
    """
    hidden = {name: value for name, value in os.environ.items() if _is_hidden(name)}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        for name in filter(_is_hidden, list(os.environ)):
            del os.environ[name]
        os.environ.update(hidden)


def _is_hidden(name: str) -> bool:
    return name in _NAMES or name.startswith(_PREFIXES)


class OneDeviceArguments(TrainingArguments):
    """Arguments of a run on one device, however many are visible.

    The Trainer would use all visible GPUs, and multiply the batch by their number.
    """

    @property
    def n_gpu(self) -> int:
        """The number of GPUs in use: 0 or 1."""
        return min(1, int(super().n_gpu))

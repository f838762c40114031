"""Checkpoints of a run: plain data and tensors in one safetensors file, written atomically and checked when read.

A file is called ``<run>-<step>-<checksum>.safetensors``. Plain data is JSON in the file's metadata. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

_KEPT = 2
_TENSOR = "__tensor__"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often a run writes checkpoints.

    Attributes:
        folder: The folder of the files; made if missing. Runs may share it.
        minutes: Time between checkpoints; 0 writes one after every step.
    """

    folder: Path
    minutes: float = 5.0

    def save(self, run: str, step: int, state: Any) -> None:
        """Write a checkpoint, and delete all but the last two of the run.

        A failure to write is logged, and the run goes on.

        Args:
            run: The identifier of the run, without ``-`` and ``/``.
            step: The number of steps made.
            state: Dictionaries with string keys, lists, numbers, strings, None and tensors.
        """
        tensors: dict[str, torch.Tensor] = {}
        metadata = {"state": json.dumps(_without_tensors(state, tensors))}
        temporary = self.folder / f"{run}-{os.getpid()}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, temporary, metadata)
            with temporary.open("rb") as written:
                checksum = hashlib.file_digest(written, "sha256").hexdigest()[:16]
                os.fsync(written.fileno())
            temporary.replace(self.folder / f"{run}-{step:09d}-{checksum}.safetensors")
            _sync_folder(self.folder)
        except (OSError, SafetensorError) as error:
            _logger.warning("no checkpoint at step %d: %s", step, error)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            return
        for old in [*list(self._files(run))[_KEPT:], *self.folder.glob(f"{run}-*.tmp")]:
            old.unlink(missing_ok=True)

    def load(self, run: str) -> Any:
        """Returns the state of the newest checkpoint of a run that is undamaged; None if there is none."""
        for file in self._files(run):
            with file.open("rb") as opened:
                checksum = hashlib.file_digest(opened, "sha256").hexdigest()[:16]
            if not file.stem.endswith(f"-{checksum}"):
                _logger.warning("checkpoint %s is damaged and ignored", file)
                continue
            with safe_open(str(file), framework="pt") as saved:
                tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118  # no mapping
                return _with_tensors(json.loads(saved.metadata()["state"]), tensors)
        return None

    def clear(self, run: str) -> None:
        """Delete the checkpoints of a run."""
        for file in [*self._files(run), *self.folder.glob(f"{run}-*.tmp")]:
            file.unlink(missing_ok=True)

    def _files(self, run: str) -> Iterator[Path]:
        """The files of a run, the newest first."""
        yield from sorted(self.folder.glob(f"{run}-*.safetensors"), reverse=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the platform can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _without_tensors(data: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Returns the data with every tensor replaced by its name, and collects the tensors."""
    if isinstance(data, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = data.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(data, dict):
        return {key: _without_tensors(value, tensors) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_without_tensors(value, tensors) for value in data]
    return data


def _with_tensors(data: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(data, dict):
        if data.keys() == {_TENSOR}:
            return tensors[data[_TENSOR]]
        return {key: _with_tensors(value, tensors) for key, value in data.items()}
    if isinstance(data, list):
        return [_with_tensors(value, tensors) for value in data]
    return data

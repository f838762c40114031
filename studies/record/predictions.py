"""The result of every test example, kept in the files of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

FILE = "predictions.npz"
"""The name of the file.

It holds ``example`` (int32, the index in the split), ``loss`` (float32, in nats; of text, per token) and, for tasks
with answers, ``correct`` (bool), each of shape ``(examples,)``.
"""


def save_predictions(folder: Path, loss: Sequence[float] | Any, correct: Sequence[bool] | Any | None) -> str:
    """Write the results of the first examples of a split, in their order.

    Args:
        folder: The folder of the run's files.
        loss: ``(examples,)``, in nats; of text, per token.
        correct: Whether the answer is right, ``(examples,)``; None for tasks without answers.

    Returns:
        The name of the file in ``folder``.
    """
    columns = {"example": np.arange(len(loss), dtype=np.int32), "loss": np.asarray(loss, np.float32)}
    if correct is not None:
        columns["correct"] = np.asarray(correct, bool)
    return save_columns(folder, columns)


def save_columns(folder: Path, columns: Mapping[str, np.ndarray]) -> str:
    """Write the arrays of another run's file; returns the name of the file in ``folder``."""
    np.savez_compressed(folder / FILE, allow_pickle=False, **columns)
    return FILE


def load_predictions(file: Path | IO[bytes]) -> dict[str, np.ndarray]:
    """Returns the arrays of a file written by :func:`save_predictions`, by name.

    Raises:
        ValueError: If the file holds anything but plain arrays.
    """
    with np.load(file, allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}

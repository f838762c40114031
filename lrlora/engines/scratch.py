"""Memory for one block of entries, used again by every layer.

On a CPU a fresh tensor of megabytes costs more than what is computed in it: the system hands out and clears its pages
anew each time. Nothing that outlives a pass lies here.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

BLOCK = 1 << 21
"""Entries of ΔW that are made at a time, at most: 8 MiB in float32. Layers of small models are one block."""


class _Held(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[tuple[str, torch.dtype], Tensor] = {}


_held = _Held()


def scratch(shape: tuple[int, ...], like: Tensor, use: str, dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialised tensor, good until the next call for the same use in this thread.

    Args:
        shape: Of the result.
        like: Gives the device and, unless told, the dtype.
        use: Tensors for different uses are different.
        dtype: Of the result.
    """
    dtype = dtype or like.dtype
    if like.device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=like.device)  # a GPU's allocator keeps blocks by itself
    size = 1
    for length in shape:
        size *= length
    buffer = _held.buffers.get((use, dtype))
    if buffer is None or buffer.numel() < size:
        # Made outside of inference mode, where it could not be written to from training.
        with torch.inference_mode(False):
            buffer = torch.empty(size, dtype=dtype)
        _held.buffers[use, dtype] = buffer
    return buffer[:size].view(shape)


def row_blocks(rows: int, columns: int) -> list[slice]:
    """Slices of rows of at most :data:`BLOCK` entries each, as even as can be."""
    count = -(-rows * columns // BLOCK)
    step = max(1, -(-rows // max(1, count)))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]

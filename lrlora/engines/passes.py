"""Passes over the m × n entries of p(BA): values forward; p' and the gradient of p's coefficients backward.

``B`` is ``(m, r)`` and ``A`` ``(r, n)``, scaled so that the entries of BA lie in [−1, 1]. Nothing of size m × n is made
besides the results: BA is formed block by block, and again in the backward pass. In float32 on CPU the passes are
native (:mod:`.native`). Otherwise, and where there is no compiler, they are eager (:mod:`.eager`): on CPU in blocks of
rows that stay in cache, on other devices on the whole matrix at once.

Neither synchronises with the device. The native passes give the same bits on any number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lrlora.engines import native
from lrlora.engines.coefficients import widest_float
from lrlora.engines.eager import Buffers, Series, Table

__all__ = ["Series", "Table", "pull_back", "values"]

IN_CACHE = 1 << 16
"""Entries of a block of the eager passes on CPU."""


@torch.no_grad()
def values(B: Tensor, A: Tensor, p: Series | Table, *, base: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Returns ``base`` + p(BA).

    Args:
        B: ``(m, r)``, float32 or float64.
        A: ``(r, n)``, in the dtype of ``B``.
        p: The function, in the dtype of ``B``.
        base: ``(m, n)``; None means 0.
        out: ``(m, n)``, where the result is written; it may be ``base``. None: a new tensor.

    Returns:
        ``out``, ``(m, n)``.

    Raises:
        ValueError: If shapes don't match.
    """
    out = B.new_empty(B.shape[0], A.shape[1]) if out is None else out
    _require_shapes(B, A, base=base, out=out)
    if library := _library(B, A, p, base, out):
        library.entries(B, A, p.coefficients, table=isinstance(p, Table), base=base, out=out, gradient=None)
        return out
    p = replace(p)  # what it keeps of its coefficients is for this call alone: they may change between calls
    for rows, t, buffers in _blocks(B, A):
        p.evaluate(t, None if base is None else base[rows], out[rows], buffers)
    return out


@torch.no_grad()
def pull_back(
    B: Tensor, A: Tensor, p: Series | Table, gradient: Tensor, *, base: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    """Multiplies ``gradient``, that of p(BA), by p'(BA) in place: it becomes the gradient of BA.

    Args:
        B: ``(m, r)``, float32 or float64.
        A: ``(r, n)``, in the dtype of ``B``.
        p: The function, in the dtype of ``B``.
        gradient: ``(m, n)``, changed in place.
        base: ``(m, n)``; None means 0.
        out: ``(m, n)``, becomes ``base`` + p(BA) in the same pass; it may be ``base``. None: not computed.

    Returns:
        The gradient of the coefficients of p, in their shape: float64, or float32 on devices without float64.

    Raises:
        ValueError: If shapes don't match.
    """
    _require_shapes(B, A, gradient=gradient, base=base, out=out)
    if library := _library(B, A, p, gradient, base, out):
        sums = library.entries(B, A, p.coefficients, table=isinstance(p, Table), base=base, out=out, gradient=gradient)
        assert sums is not None
        return sums
    p = replace(p)
    total = torch.zeros(len(p.coefficients), dtype=widest_float(B.device), device=B.device)
    for rows, t, buffers in _blocks(B, A):
        total += p.pull_back(
            t, gradient[rows], None if base is None else base[rows], None if out is None else out[rows], buffers
        )
    return total


def _library(B: Tensor, A: Tensor, p: Series | Table, *others: Tensor | None) -> native.Library | None:
    """The native library, if it can do this pass."""
    if isinstance(p, Series) and len(p.coefficients) > native.MOST_COEFFICIENTS:
        return None
    return native.library() if native.takes(B, A, p.coefficients, *others) else None


def _require_shapes(B: Tensor, A: Tensor, **entries: Tensor | None) -> None:
    if B.ndim != 2 or A.ndim != 2 or B.shape[1] != A.shape[0]:
        raise ValueError(f"B must be (m, r) and A (r, n), got {tuple(B.shape)} and {tuple(A.shape)}")
    shape = (B.shape[0], A.shape[1])
    for name, tensor in entries.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} must be {shape}, got {tuple(tensor.shape)}")


def _blocks(B: Tensor, A: Tensor) -> Iterator[tuple[slice, Tensor, Buffers]]:
    """Yields blocks of rows: which, BA there, and where intermediate results go; these are reused by the next block."""
    m, n = B.shape[0], A.shape[1]
    if m * n == 0:
        return
    step = max(1, IN_CACHE // n) if B.device.type == "cpu" else m
    kept: list[Tensor] = []
    for start in range(0, m, step):
        rows = slice(start, min(start + step, m))
        taken = 0

        def take(size: int = rows.stop - rows.start) -> Tensor:
            nonlocal taken
            if taken == len(kept):
                kept.append(B.new_empty(min(step, m), n))
            taken += 1
            return kept[taken - 1][:size]

        yield rows, torch.mm(B[rows], A, out=take()), take

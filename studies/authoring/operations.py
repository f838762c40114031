"""How many operations an evaluation of a basis takes: counted, not timed, so that bases can be made to cost the same.

One operation is one entry that a primitive of PyTorch writes; a product of matrices counts its multiplications and
additions, and a view counts nothing. A sine counts as much as a sum: what they take on a machine is what is timed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from lrlora.bases import Basis
from lrlora.policies import GRIDS
from lrlora.studies.errors import StudyError

POINTS = 256
"""Entries of z for which operations are counted; the count per entry hardly depends on it."""
MOST_GRID_POINTS = 1024


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it without annotations
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.operations += int(flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out))
        elif not func.is_view:
            self.operations += sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out


def plain_theta(grid_points: int) -> tuple[Tensor, Tensor]:
    """N equidistant grid points on [−3, 3], and bandwidths of one."""
    return GRIDS.create("uniform").points(grid_points, 3.0).float(), torch.ones(grid_points)


def operations_per_entry(basis: Basis, grid_points: int) -> float:
    """Operations of one call of ``matrix`` in float32, by entry of z.

    Args:
        basis: The basis.
        grid_points: N.
    """
    z = torch.linspace(-3.0, 3.0, POINTS)
    grid, bandwidth = plain_theta(grid_points)
    with _Counter() as counter, torch.no_grad():
        basis.matrix(z, grid, bandwidth)
    return counter.operations / POINTS


def matched_grid_points(basis: Basis, operations: float) -> int:
    """Returns the N at which an evaluation of ``matrix`` takes the nearest to so many operations per entry of z.

    Args:
        basis: The basis; its count grows with N.
        operations: As :func:`operations_per_entry` counts them.

    Raises:
        StudyError: Even ``MOST_GRID_POINTS`` functions take fewer.
    """
    low, high = 1, MOST_GRID_POINTS
    if operations_per_entry(basis, high) < operations:
        raise StudyError(f"basis {basis!r} takes fewer operations than that even with {high} functions")
    while high - low > 1:
        middle = (low + high) // 2
        if operations_per_entry(basis, middle) < operations:
            low = middle
        else:
            high = middle
    return min((low, high), key=lambda n: abs(operations_per_entry(basis, n) - operations))

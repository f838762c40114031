"""Where the entries of z = s_in · BA lie: bounds, and a sample of rows and columns on which forms are compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

ROWS = 64
"""Rows, and columns, of the sample. Taken evenly over their norms, the largest among them."""

SMALLEST = 1e-3
"""Least range of z that is planned for. Below it every smooth φ is nearly linear."""

Array = np.ndarray


@dataclass(frozen=True)
class Entries:
    """The entries of z of one layer at one time.

    Attributes:
        A: ``(r, in)``, detached.
        B: ``(out, r)``, detached.
        scale: s_in.
        frame: V, the eigenvectors of BᵀB, ``(r, r)``. In the frame BV, VᵀA updates of trained adapters are
            concentrated in few components.
        largest: max |BV| and max |VᵀA| of each component, ``(2, r)``.
        bound: A bound on |z|, by Cauchy and Schwarz in the frame, with components balanced between A and B.
        sampled_A: The columns of A in the sample, ``(r, c)``, float64.
        sampled_B: The rows of B in the sample, ``(c, r)``, float64.
    """

    A: Tensor
    B: Tensor
    scale: float
    frame: Array
    largest: Array
    bound: float
    sampled_A: Array
    sampled_B: Array

    @classmethod
    @torch.no_grad()
    def of(cls, A: Tensor, B: Tensor, scale: float) -> Entries:
        """Reads the entries of one layer; synchronises with the device.

        Raises:
            FloatingPointError: If A or B is not finite.
        """
        # In NumPy and not in PyTorch, which would start all its threads for these small products.
        # Copies, since NumPy makes the storage that it looks at immovable, and FSDP frees that of parameters.
        a, b = (side.detach().cpu().to(torch.float64, copy=True).numpy() for side in (A, B))
        gram, column_squares = b.T @ b, np.sum(a * a, axis=0)
        if not (np.isfinite(gram).all() and np.isfinite(column_squares).all()):
            raise FloatingPointError("A or B is not finite")
        frame = np.linalg.eigh(gram).eigenvectors
        b_in_frame, a_in_frame = (b @ frame).T, frame.T @ a
        largest = np.stack([np.abs(side).max(axis=1, initial=0.0) for side in (b_in_frame, a_in_frame)])
        largest_b, largest_a = np.where(largest > 0, largest, 1.0)
        reach_b = (largest_a / largest_b) @ b_in_frame**2
        reach_a = (largest_b / largest_a) @ a_in_frame**2
        bound = scale * float(np.sqrt(reach_b.max(initial=0.0) * reach_a.max(initial=0.0)))
        rows, columns = _evenly(np.sum(b * b, axis=1)), _evenly(column_squares)
        return cls(
            A=A.detach(),
            B=B.detach(),
            scale=scale,
            frame=frame,
            largest=largest,
            bound=bound,
            sampled_A=a[:, columns],
            sampled_B=b[rows],
        )

    @cached_property
    def z(self) -> Array:
        """The entries of z in the sample, ``(c, c)``, float64."""
        return np.asarray(self.scale * self.sampled_B @ self.sampled_A)

    @cached_property
    def sorted(self) -> Array:
        """The entries of z in the sample in ascending order, ``(c²,)``."""
        return np.sort(self.z, axis=None)

    @cached_property
    def peak(self) -> float:
        """max |z|, measured over all entries in blocks of rows that are not kept."""
        if self.bound == 0:
            return 0.0
        height = len(self.B) if self.B.device.type != "cpu" else max(1, (1 << 21) // max(1, self.A.shape[1]))
        peaks = [torch.stack((self.B[i : i + height] @ self.A).aminmax()) for i in range(0, len(self.B), height)]
        return self.scale * float(torch.stack(peaks).abs().amax())


def _evenly(squares: Array) -> Array:
    """Returns indices of at most :data:`ROWS` norms, evenly spaced in the order of the norms."""
    if len(squares) <= ROWS:
        return np.arange(len(squares))
    order = np.argsort(squares, kind="stable")
    return np.sort(order[np.linspace(0, len(squares) - 1, ROWS).round().astype(int)])

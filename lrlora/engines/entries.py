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
        rows, columns: Indices of the sample.
    """

    A: Tensor
    B: Tensor
    scale: float
    frame: Array
    largest: Array
    bound: float
    rows: Array
    columns: Array

    @classmethod
    @torch.no_grad()
    def of(cls, A: Tensor, B: Tensor, scale: float) -> Entries:
        """Reads the entries of one layer; synchronises with the device.

        Raises:
            FloatingPointError: If A or B is not finite.
        """
        A, B = A.detach(), B.detach()
        row_norms, column_norms = (
            torch.linalg.vector_norm(side, dim=dim).cpu().double().numpy() for side, dim in ((B, 1), (A, 0))
        )
        gram = (B.mT @ B).cpu().double().numpy()
        if not np.isfinite(gram).all() or not np.isfinite(column_norms).all():
            raise FloatingPointError("A or B is not finite")
        frame = np.linalg.eigh(gram).eigenvectors
        V = torch.from_numpy(frame).to(A)
        b, a = (B @ V).mT, V.mT @ A
        largest = np.stack([_largest(side.abs()) for side in (b, a)])
        squares = [_or_one(largest[1]) / _or_one(largest[0]), _or_one(largest[0]) / _or_one(largest[1])]
        sides = [torch.from_numpy(square).to(A) @ side.square() for square, side in zip(squares, (b, a), strict=True)]
        bound = scale * float(np.sqrt(np.prod([_largest(side[None])[0] for side in sides])))
        return cls(A, B, scale, frame, largest, bound, _evenly(row_norms), _evenly(column_norms))

    @cached_property
    def sampled_A(self) -> Array:
        """The columns of A in the sample, ``(r, c)``, float64."""
        return np.asarray(self.A[:, torch.as_tensor(self.columns, device=self.A.device)].cpu().double())

    @cached_property
    def sampled_B(self) -> Array:
        """The rows of B in the sample, ``(c, r)``, float64."""
        return np.asarray(self.B[torch.as_tensor(self.rows, device=self.B.device)].cpu().double())

    @cached_property
    def z(self) -> Array:
        """The entries of z in the sample, ``(c, c)``, float64."""
        return np.asarray(self.scale * self.sampled_B @ self.sampled_A)

    @cached_property
    def peak(self) -> float:
        """max |z|, measured over all entries in blocks of rows that are not kept."""
        if self.bound == 0:
            return 0.0
        height = len(self.B) if self.B.device.type != "cpu" else max(1, (1 << 21) // max(1, self.A.shape[1]))
        peaks = [torch.stack((self.B[i : i + height] @ self.A).aminmax()) for i in range(0, len(self.B), height)]
        return self.scale * float(torch.stack(peaks).abs().amax())


def _largest(side: Tensor) -> Array:
    """Returns the largest entry of each row; 0 of empty ones."""
    return (side.amax(1) if side.shape[1] else side.new_zeros(len(side))).cpu().double().numpy()


def _or_one(values: Array) -> Array:
    return np.where(values > 0, values, 1.0)


def _evenly(norms: Array) -> Array:
    """Returns indices of at most :data:`ROWS` norms, evenly spaced in the order of the norms."""
    if len(norms) <= ROWS:
        return np.arange(len(norms))
    order = np.argsort(norms, kind="stable")
    return np.sort(order[np.linspace(0, len(norms) - 1, ROWS).round().astype(int)])

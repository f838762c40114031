"""The functions p of the entrywise engines, and what they do to a block of entries in plain tensor operations.

Both kinds are defined on [−1, 1] and go on as straight lines outside: p(t) = p(±1) + p'(±1)(t ∓ 1). Both are linear in
their coefficients. Nothing here reads a value on the host, so that all of it runs without a synchronisation, and on
``meta`` tensors. What is computed from the coefficients is kept with the object: they must not change meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lrlora.engines.coefficients import widest_float

Buffers = Callable[[], Tensor]
"""Returns the next tensor to write to, of the shape of a block."""


@dataclass(frozen=True, eq=False)
class Series:
    """A Chebyshev series, p(t) = Σ c_k T_k(t).

    Args:
        coefficients: c, ``(degree + 1,)``, in the dtype of the entries.

    Raises:
        ValueError: If there is no coefficient.
    """

    coefficients: Tensor

    def __post_init__(self) -> None:
        if self.coefficients.ndim != 1 or len(self.coefficients) < 1:
            raise ValueError(f"coefficients must be (degree + 1,), got {tuple(self.coefficients.shape)}")

    @cached_property
    def derivative(self) -> Tensor:
        """Coefficients of p', ``(degree + 1,)``; the last is zero."""
        c = self.coefficients.to(widest_float(self.coefficients.device))
        k = torch.arange(len(c), dtype=c.dtype, device=c.device)
        # c'_j = Σ 2k c_k over the k > j with k − j odd, and half of that for j = 0.
        steps = k[None] - k[:, None]
        matrix = ((steps > 0) & (steps % 2 == 1)) * 2 * k
        matrix[:1] /= 2
        return (matrix @ c).to(self.coefficients.dtype)

    @cached_property
    def ends(self) -> Tensor:
        """p'(1) and p'(−1), ``(2,)``."""
        c = self.coefficients.to(widest_float(self.coefficients.device))
        return (_end_slopes(len(c), c) @ c).to(self.coefficients.dtype)

    def evaluate(self, t: Tensor, base: Tensor | None, out: Tensor, buffers: Buffers) -> None:
        """``out`` becomes ``base`` + p(t), by Clenshaw's recurrence; ``t`` is used up."""
        c, ends = self.coefficients, self.ends
        x, b1, b2 = torch.clamp(t, -1, 1, out=buffers()), buffers().zero_(), buffers().zero_()
        for k in range(len(c) - 1, 0, -1):
            b1, b2 = torch.sub(c[k], b2, out=b2).addcmul_(x, b1, value=2), b1
        p = torch.sub(c[0], b2, out=b2).addcmul_(x, b1)
        _add_outside(p, t.sub_(x), ends, spare=b1)
        _store(p, base, out)

    def pull_back(
        self, t: Tensor, gradient: Tensor, base: Tensor | None, out: Tensor | None, buffers: Buffers
    ) -> Tensor:
        """``gradient`` is multiplied by p'(t), and ``out``, if any, becomes ``base`` + p(t); ``t`` is used up.

        Returns:
            The gradient of the coefficients, in the dtype of :func:`~.coefficients.widest_float`.
        """
        c, d = self.coefficients, self.derivative
        x, T, previous, product = torch.clamp(t, -1, 1, out=buffers()), buffers(), buffers().fill_(1), buffers()
        q = torch.mul(x, 0, out=buffers()).add_(d[0])  # not filled: a NaN stays one
        p = None if out is None else torch.mul(x, 0, out=buffers()).add_(c[0])
        T.copy_(x)
        sums, sign = [gradient.sum(1)], 1
        for k in range(1, len(c)):
            if k > 1:
                # T is ±T_k, with the signs + + − − + + … from k = 0 on: the recurrence is then one operation.
                T, previous = previous.addcmul_(x, T, value=2 if k % 2 else -2), T
                sign = -1 if k % 4 in (2, 3) else 1
            sums.append(torch.mul(gradient, T, out=product).sum(1).mul_(sign))
            q.addcmul_(T, d[k], value=sign)
            if p is not None:
                p.addcmul_(T, c[k], value=sign)
        e = t.sub_(x)
        if p is not None and out is not None:
            _add_outside(p, e, self.ends, spare=product)
            _store(p, base, out)
        outside = _sums_outside(e, gradient, spare=product)
        gradient.mul_(q)
        inside = torch.stack(sums).sum(1, dtype=outside.dtype)
        return inside + outside @ _end_slopes(len(c), outside)


@dataclass(frozen=True, eq=False)
class Table:
    """Piecewise cubic on uniform cells of [−1, 1], continuous with its derivative: cubic convolution with a = −1/2.

    Source: R. Keys, *Cubic convolution interpolation for digital image processing*, IEEE Transactions on Acoustics,
    Speech, and Signal Processing 29 (1981), equation 15; also known as the Catmull–Rom spline.

    Args:
        coefficients: Values at the nodes −1 − h, −1, −1 + h, …, 1, 1 + h with h = 2 / cells, ``(cells + 3,)``, in the
            dtype of the entries.

    Raises:
        ValueError: If there is no cell.
    """

    coefficients: Tensor

    def __post_init__(self) -> None:
        if self.coefficients.ndim != 1 or len(self.coefficients) < 4:
            raise ValueError(f"coefficients must be (cells + 3,) with cells >= 1, got {tuple(self.coefficients.shape)}")

    @property
    def cells(self) -> int:
        """The number of cells."""
        return len(self.coefficients) - 3

    @cached_property
    def ends(self) -> Tensor:
        """p'(1) and p'(−1), ``(2,)``."""
        v = self.coefficients.to(widest_float(self.coefficients.device))
        return (torch.stack([v[-1] - v[-3], v[2] - v[0]]) * (self.cells / 4)).to(self.coefficients.dtype)

    def evaluate(self, t: Tensor, base: Tensor | None, out: Tensor, buffers: Buffers) -> None:
        """``out`` becomes ``base`` + p(t); ``t`` is used up."""
        cell, u, e = self._places(t, buffers)
        p, weight = buffers().zero_(), buffers()
        for j in range(4):
            p.addcmul_(self._at(cell, j, t), _polynomial(_WEIGHTS[j], u, out=weight))
        _add_outside(p, e, self.ends, spare=u)
        _store(p, base, out)

    def pull_back(
        self, t: Tensor, gradient: Tensor, base: Tensor | None, out: Tensor | None, buffers: Buffers
    ) -> Tensor:
        """``gradient`` is multiplied by p'(t), and ``out``, if any, becomes ``base`` + p(t); ``t`` is used up.

        Returns:
            The gradient of the coefficients, in the dtype of :func:`~.coefficients.widest_float`.
        """
        cell, u, e = self._places(t, buffers)
        p, q, product = buffers().zero_(), buffers().zero_(), buffers()
        sums = torch.zeros(len(self.coefficients), dtype=widest_float(t.device), device=t.device)
        for j in range(4):
            at = self._at(cell, j, t)
            q.addcmul_(at, _polynomial(_SLOPES[j], u, out=product), value=self.cells / 2)
            weight = _polynomial(_WEIGHTS[j], u, out=product)
            if out is not None:
                p.addcmul_(at, weight)
            sums.scatter_add_(0, cell + j, weight.mul_(gradient).flatten().to(sums.dtype))
        if out is not None:
            _add_outside(p, e, self.ends, spare=product)
            _store(p, base, out)
        over, under = (_sums_outside(e, gradient, spare=product) * (self.cells / 4)).unbind()
        for node, outside in ((-1, over), (-3, -over), (2, under), (0, -under)):
            sums[node] += outside
        gradient.mul_(q)
        return sums

    def _places(self, t: Tensor, buffers: Buffers) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the cell of each entry, in one row; its place in [0, 1] there; by how much ``t`` exceeds [−1, 1]."""
        half = self.cells // 2
        x = torch.clamp(t, -1, 1, out=buffers())
        e = t.sub_(x)
        # Counted from the middle: t near 0 keeps its digits.
        x.mul_(self.cells / 2).add_(0.5 * (self.cells % 2))
        cell = torch.nan_to_num(x, nan=0.0, out=buffers()).floor_().clamp_(-half, self.cells - 1 - half)
        return cell.flatten().long().add_(half), x.sub_(cell), e

    def _at(self, cell: Tensor, j: int, like: Tensor) -> Tensor:
        """Values at the node ``j`` of each cell, in the shape of ``like``."""
        return self.coefficients.index_select(0, cell + j).view_as(like)


# Weights of the four nodes about a cell, as polynomials of the place in it, constant first; and their derivatives.
_WEIGHTS = ((0, -0.5, 1, -0.5), (1, 0, -2.5, 1.5), (0, 0.5, 2, -1.5), (0, 0, -0.5, 0.5))
_SLOPES = tuple((b, 2 * c, 3 * d) for _, b, c, d in _WEIGHTS)


def _polynomial(coefficients: tuple[float, ...], u: Tensor, out: Tensor) -> Tensor:
    """By Horner's scheme."""
    *lower, last = coefficients
    torch.mul(u, last, out=out)
    for c in reversed(lower[1:]):
        out.add_(c).mul_(u)
    return out.add_(lower[0])


def _end_slopes(count: int, like: Tensor) -> Tensor:
    """T_k'(1) = k² and T_k'(−1) = (−1)^(k+1) k² for k < ``count``, ``(2, count)``."""
    k = torch.arange(count, dtype=like.dtype, device=like.device)
    return torch.stack([k * k, k * k * (2 * (k % 2) - 1)])


def _add_outside(p: Tensor, e: Tensor, ends: Tensor, spare: Tensor) -> None:
    """Adds to ``p`` what it has outside of [−1, 1], which ``e`` exceeds it by."""
    p.addcmul_(torch.clamp(e, min=0, out=spare), ends[0])
    p.addcmul_(torch.clamp(e, max=0, out=spare), ends[1])


def _sums_outside(e: Tensor, gradient: Tensor, spare: Tensor) -> Tensor:
    """Sums of the gradient times max(t − 1, 0), and times min(t + 1, 0), ``(2,)``."""
    over = torch.clamp(e, min=0, out=spare).mul_(gradient).sum(1)
    under = torch.clamp(e, max=0, out=spare).mul_(gradient).sum(1)
    return torch.stack([over, under]).sum(1, dtype=widest_float(e.device))


def _store(p: Tensor, base: Tensor | None, out: Tensor) -> None:
    if base is None:
        out.copy_(p)
    else:
        torch.add(base, p, out=out)

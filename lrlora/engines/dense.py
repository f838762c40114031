"""Evaluation through a surrogate on every entry of BA, in blocks that are made again and never kept.

What stays between forward and backward is what LoRA keeps: x, A, B, and a few coefficients.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lrlora.engines.rounding import FEWEST_TOKENS, ThinProducts
from lrlora.engines.scratch import row_blocks, scratch
from lrlora.engines.surrogate import Surrogate
from lrlora.transfer import TransferFunction


def dense_delta(A: Tensor, B: Tensor, transfer: TransferFunction, surrogate: Surrogate) -> Tensor:
    """ΔW, ``(out, in)``."""
    out: Tensor = _Delta.apply(A, B, *_theta(transfer), surrogate, transfer.input_scale / surrogate.rho)
    return out


def dense_linear(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    A: Tensor,
    B: Tensor,
    transfer: TransferFunction,
    surrogate: Surrogate,
) -> Tensor:
    """x (W + ΔW)ᵀ + b, or x ΔWᵀ where there is no weight. One product forward, two backward.

    ``x`` may be of less precision than A and B: entries are computed in theirs and rounded once, before they meet x.
    """
    scale = transfer.input_scale / surrogate.rho
    out: Tensor = _Linear.apply(x, weight, bias, A, B, *_theta(transfer), surrogate, scale)
    return out


def _theta(transfer: TransferFunction) -> tuple[Tensor, Tensor, Tensor]:
    return transfer.amplitude, transfer.bandwidth, transfer.grid


class _Pullback:
    """Sums up, block by block, the gradients of A, B and θ from that of ΔW."""

    def __init__(self, ctx: Any, A: Tensor, B: Tensor, first: int) -> None:
        wants = ctx.needs_input_grad[first : first + 5]
        self.thin: ThinProducts | None = None
        self.wants_A, self.wants_B, *self.wants_theta = wants
        self.any = any(wants)
        self.ctx, self.A = ctx, A
        self.grad_A = torch.zeros_like(A)
        self.grad_B = torch.empty_like(B)
        self.moments: Tensor | None = None

    def add(self, rows: slice, scaled_B: Tensor, base: Tensor | None, gradient: Tensor) -> Tensor:
        """One block; ``gradient`` becomes that of t, and ``base`` + ΔW is returned where there is a ``base``."""
        out = scratch((len(scaled_B), self.A.shape[1]), self.A, "entries")
        less_linear = self.thin is not None
        moments = self.ctx.surrogate.pull_back(scaled_B, self.A, base, gradient, out, less_linear=less_linear)
        self.moments = moments if self.moments is None else self.moments + moments
        torch.mm(gradient, self.A.T, out=self.grad_B[rows])
        if rows.start == 0:
            torch.mm(scaled_B.T, gradient, out=self.grad_A)
        else:
            self.grad_A.addmm_(scaled_B.T, gradient)
        return out

    def make_good(self, x: Tensor, gy: Tensor, scaled_B: Tensor) -> None:
        """Add what was left out of the blocks, where their gradients were rounded."""
        if self.thin is None:
            return
        slope, correction = self.ctx.surrogate.split
        assert self.moments is not None
        self.moments = self.thin.corrected(self.moments, correction, x, gy, self.A, scaled_B)
        self.grad_B.addmm_(gy.T, self.thin.down.T, alpha=slope)
        self.grad_A.addmm_(self.thin.up, x, alpha=slope)

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Of A, B, a, ω and the grid."""
        if not self.any:
            return (None,) * 5
        theta: tuple[Tensor | None, ...] = (None,) * 3
        if any(self.wants_theta):
            assert self.moments is not None
            theta = self.ctx.surrogate.theta_gradient(self.moments, self.wants_theta, self.ctx.theta_dtypes)
        grad_B = self.grad_B.mul_(self.ctx.scale)
        return (self.grad_A if self.wants_A else None, grad_B if self.wants_B else None, *theta)


class _Delta(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, A: Tensor, B: Tensor, a: Tensor, omega: Tensor, grid: Tensor, surrogate: Surrogate, scale: float
    ) -> Tensor:
        ctx.save_for_backward(A, B)
        ctx.surrogate, ctx.scale, ctx.theta_dtypes = surrogate, scale, (a.dtype, omega.dtype, grid.dtype)
        out = A.new_empty(B.shape[0], A.shape[1])
        scaled = B * scale
        for rows in row_blocks(*out.shape):
            surrogate.evaluate(scaled[rows], A, None, out[rows])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        A, B = ctx.saved_tensors
        pullback = _Pullback(ctx, A, B, first=0)
        scaled = B * ctx.scale
        for rows in row_blocks(B.shape[0], A.shape[1]):
            shape = (len(scaled[rows]), A.shape[1])
            incoming = scratch(shape, A, "gradient").copy_(gradient[rows])
            pullback.add(rows, scaled[rows], None, incoming)
        return (*pullback.gradients(), None, None)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        A: Tensor,
        B: Tensor,
        a: Tensor,
        omega: Tensor,
        grid: Tensor,
        surrogate: Surrogate,
        scale: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, A, B)
        ctx.surrogate, ctx.scale, ctx.theta_dtypes = surrogate, scale, (a.dtype, omega.dtype, grid.dtype)
        scaled = B * scale
        blocks = row_blocks(B.shape[0], A.shape[1])
        if len(blocks) == 1:
            return F.linear(x, _weights(x, weight, A, scaled, surrogate, blocks[0]), bias)
        out = x.new_empty(*x.shape[:-1], B.shape[0])
        for rows in blocks:
            block = _weights(x, weight, A, scaled, surrogate, rows)
            out[..., rows] = F.linear(x, block, None if bias is None else bias[rows])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, A, B = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        pullback = _Pullback(ctx, A, B, first=3)
        grad_rows = grad_y.reshape(-1, grad_y.shape[-1])
        x_rows = x.reshape(-1, x.shape[-1])
        grad_x = torch.empty_like(x_rows) if wants_x else None
        grad_weight = torch.empty_like(weight) if wants_weight else None
        scaled = B * ctx.scale
        rounded: tuple[Tensor, Tensor] | None = None
        if pullback.any and not wants_weight and _may_round(ctx.surrogate, x_rows, A):
            pullback.thin = ThinProducts.of(x_rows, grad_rows, A, scaled)
            rounded = x_rows.bfloat16(), grad_rows.bfloat16()
        for rows in row_blocks(B.shape[0], A.shape[1]):
            incoming = grad_rows[:, rows]
            shape = (incoming.shape[1], A.shape[1])
            base = None if weight is None else weight[rows]
            if pullback.any or wants_weight:
                if rounded is None:
                    gradient = _product(incoming, x_rows, A, shape)
                else:
                    gradient = _product(rounded[1][:, rows], rounded[0], A, shape)
                if grad_weight is not None:
                    grad_weight[rows] = gradient
            if pullback.any:
                wants_entries = wants_x and base is not None
                t = pullback.add(rows, scaled[rows], base if wants_entries else None, gradient)
                if grad_x is not None and not wants_entries:
                    t = _entries(None, A, scaled, ctx.surrogate, rows)
            elif grad_x is not None:
                t = _entries(base, A, scaled, ctx.surrogate, rows)
            if grad_x is not None:
                block = _as(t, x.dtype)
                if rows.start == 0:
                    torch.mm(incoming, block, out=grad_x)
                else:
                    grad_x.addmm_(incoming, block)
        pullback.make_good(x_rows, grad_rows, scaled)
        grad_bias = grad_rows.sum(0) if wants_bias else None
        return (
            None if grad_x is None else grad_x.view(x.shape),
            grad_weight,
            grad_bias,
            *pullback.gradients(),
            None,
            None,
        )


def _entries(base: Tensor | None, A: Tensor, scaled_B: Tensor, surrogate: Surrogate, rows: slice) -> Tensor:
    """``base`` + ΔW, or ΔW, of some rows, in scratch memory."""
    block = scaled_B[rows]
    out = scratch((len(block), A.shape[1]), A, "entries")
    surrogate.evaluate(block, A, base, out)
    return out


def _weights(
    x: Tensor, weight: Tensor | None, A: Tensor, scaled_B: Tensor, surrogate: Surrogate, rows: slice
) -> Tensor:
    base = None if weight is None else weight[rows]
    return _as(_entries(base, A, scaled_B, surrogate, rows), x.dtype)


def _as(entries: Tensor, dtype: torch.dtype) -> Tensor:
    if entries.dtype == dtype:
        return entries
    return scratch(tuple(entries.shape), entries, "rounded", dtype).copy_(entries)


def _may_round(surrogate: Surrogate, x: Tensor, A: Tensor) -> bool:
    return surrogate.split is not None and x.dtype == A.dtype == torch.float32 and len(x) >= FEWEST_TOKENS


def _product(grad_rows: Tensor, x_rows: Tensor, A: Tensor, shape: tuple[int, int]) -> Tensor:
    """G = gyᵀ x, in the dtype of A."""
    gradient = scratch(shape, A, "gradient")
    if x_rows.dtype == A.dtype:
        return torch.mm(grad_rows.T, x_rows, out=gradient)
    return gradient.copy_(torch.mm(grad_rows.T, x_rows, out=scratch(shape, A, "product", x_rows.dtype)))

"""Evaluation through a surrogate in passes over blocks of the m × n entries, which are recomputed and never kept.

What stays between forward and backward is what LoRA keeps: x, A, B, and the few coefficients.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.autograd.function import once_differentiable

from lrlora.engines.engine import Engine
from lrlora.engines.surrogate import Surrogate
from lrlora.transfer import TransferFunction

BLOCK = 1 << 17
"""Entries in a block: enough for both a vector unit and two threads, small enough to stay in cache between passes."""


class DenseEngine(Engine):
    """An engine that replaces f by a surrogate and evaluates that on every entry of BA."""

    @abstractmethod
    def surrogate(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Surrogate:
        """The surrogate of s_out · f on the range of s_in · BA, built in float64 and differentiable in θ."""

    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Tensor:
        """See :meth:`Engine.delta`."""
        surrogate = self.surrogate(A, B, transfer)
        coefficients = surrogate.coefficients.to(A.dtype)
        out: Tensor = _Delta.apply(A, B, coefficients, surrogate, transfer.input_scale / surrogate.rho)
        return out

    def linear(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, A: Tensor, B: Tensor, transfer: TransferFunction
    ) -> Tensor:
        """See :meth:`Engine.linear`. One product forward, two backward; no m × n tensor is kept between them."""
        surrogate = self.surrogate(A, B, transfer)
        coefficients = surrogate.coefficients.to(A.dtype)
        out: Tensor = _Linear.apply(
            x, weight, bias, A, B, coefficients, surrogate, transfer.input_scale / surrogate.rho
        )
        return out

    def describe(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> str:
        """See :meth:`Engine.describe`."""
        return self.surrogate(A, B, transfer).describe()


def _blocks(A: Tensor, B: Tensor) -> list[slice]:
    rows = max(1, BLOCK // A.shape[1])
    return [slice(start, start + rows) for start in range(0, B.shape[0], rows)]


def _evaluate(base: Tensor | None, A: Tensor, B: Tensor, c: Tensor, surrogate: Surrogate, scale: float) -> Tensor:
    """``base`` + ΔW, or ΔW."""
    out = A.new_empty(B.shape[0], A.shape[1])
    scaled = B * scale
    for rows in _blocks(A, B):
        value = surrogate.value(scaled[rows] @ A, c)
        if base is None:
            out[rows] = value
        else:
            torch.add(base[rows], value, out=out[rows])
    return out


def _pull_back(
    gradient: Tensor, A: Tensor, B: Tensor, c: Tensor, surrogate: Surrogate, scale: float, wants_c: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """From the gradient of ΔW to those of A, B and the coefficients. ``gradient`` is left as it is."""
    grad_A, grad_B = torch.zeros_like(A), torch.empty_like(B)
    grad_c = torch.zeros_like(c) if wants_c else None
    scaled = B * scale
    for rows in _blocks(A, B):
        t = scaled[rows] @ A
        if grad_c is not None:
            grad_c += surrogate.pullback(t, gradient[rows], c)
        inner = surrogate.slope(t, c).mul_(gradient[rows])
        torch.mm(inner, A.T, out=grad_B[rows])
        grad_A.addmm_(scaled[rows].T, inner)
    return grad_A, grad_B.mul_(scale), grad_c


class _Delta(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, A: Tensor, B: Tensor, c: Tensor, surrogate: Surrogate, scale: float) -> Tensor:
        ctx.save_for_backward(A, B, c)
        ctx.surrogate, ctx.scale = surrogate, scale
        return _evaluate(None, A, B, c, surrogate, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        A, B, c = ctx.saved_tensors
        wants_c = ctx.needs_input_grad[2]
        return (*_pull_back(gradient, A, B, c, ctx.surrogate, ctx.scale, wants_c), None, None)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        A: Tensor,
        B: Tensor,
        c: Tensor,
        surrogate: Surrogate,
        scale: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, A, B, c)
        ctx.surrogate, ctx.scale = surrogate, scale
        return F.linear(x, _evaluate(weight, A, B, c, surrogate, scale), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, A, B, c = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, wants_A, wants_B, wants_c = ctx.needs_input_grad[:6]
        grad_x = grad_y @ _evaluate(weight, A, B, c, ctx.surrogate, ctx.scale) if wants_x else None
        grad_rows = rearrange(grad_y, "... out -> (...) out")
        grad_bias = grad_rows.sum(0) if wants_bias else None
        if not (wants_A or wants_B or wants_c or wants_weight):
            return (grad_x, None, grad_bias, *[None] * 5)
        gradient = grad_rows.T @ rearrange(x, "... features -> (...) features")
        pulled = _pull_back(gradient, A, B, c, ctx.surrogate, ctx.scale, wants_c)
        return (grad_x, gradient if wants_weight else None, grad_bias, *pulled, None, None)

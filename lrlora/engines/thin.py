"""Evaluation of a layer through monomials of A and B: thin products, and nothing of the size of the weight."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lrlora.engines.monomials import Monomials
from lrlora.engines.powers import power_forward, power_pullback
from lrlora.transfer import TransferFunction


def factored_linear(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    A: Tensor,
    B: Tensor,
    transfer: TransferFunction,
    surrogate: Monomials,
) -> Tensor:
    """x (W + ΔW)ᵀ + b for a frozen W, or x ΔWᵀ where there is none."""
    theta = transfer.amplitude, transfer.bandwidth, transfer.grid
    scale = transfer.input_scale / surrogate.rho
    out: Tensor = _FactoredLinear.apply(x, weight, bias, A, B, *theta, surrogate, scale)
    return out


class _FactoredLinear(torch.autograd.Function):
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
        surrogate: Monomials,
        scale: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, A, B)
        ctx.surrogate, ctx.scale, ctx.theta_dtypes = surrogate, scale, (a.dtype, omega.dtype, grid.dtype)
        rows = x.reshape(-1, x.shape[-1])
        onto = None if weight is None else F.linear(rows, weight, bias)
        out = power_forward(rows, A, B, surrogate.exact_coefficients, scale, onto=onto)
        return out.view(*x.shape[:-1], B.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, A, B = ctx.saved_tensors
        surrogate: Monomials = ctx.surrogate
        wants_x, _, wants_bias, wants_A, wants_B, *wants_theta = ctx.needs_input_grad[:8]
        grad_rows = grad_y.reshape(-1, grad_y.shape[-1])
        onto = grad_rows @ weight if wants_x and weight is not None else None
        rows = x.reshape(-1, x.shape[-1])
        wants = (wants_x, wants_A, wants_B, any(wants_theta))
        grad_x, grad_A, grad_B, moments = power_pullback(
            rows, grad_rows, A, B, surrogate.exact_coefficients, ctx.scale, wants, onto=onto
        )
        theta: tuple[Tensor | None, ...] = (None,) * 3
        if any(wants_theta):
            assert moments is not None
            amplitude, bandwidth, grid = wants_theta
            found = surrogate.theta_gradient(moments.double(), amplitude=amplitude, bandwidth=bandwidth, grid=grid)
            theta = tuple(None if g is None else g.to(d) for g, d in zip(found, ctx.theta_dtypes, strict=True))
        return (
            None if grad_x is None else grad_x.view(x.shape),
            None,
            grad_rows.sum(0) if wants_bias else None,
            grad_A,
            grad_B,
            *theta,
            None,
            None,
        )

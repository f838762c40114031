"""Evaluation of a layer through monomials of A and B: thin products, and nothing of the size of the weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lrlora.engines.fitted_polynomial import FittedPolynomial
from lrlora.engines.powers import power_linear
from lrlora.transfer import TransferFunction


def factored_linear(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    A: Tensor,
    B: Tensor,
    transfer: TransferFunction,
    surrogate: FittedPolynomial,
) -> Tensor:
    """x (W + ΔW)ᵀ + b, or x ΔWᵀ where there is no weight."""
    c: Tensor = _Coefficients.apply(transfer.amplitude, transfer.bandwidth, transfer.grid, surrogate)
    return power_linear(x, weight, bias, A, B, c, transfer.input_scale / surrogate.rho)


class _Coefficients(torch.autograd.Function):
    """The coefficients that were fitted, as a function of the θ they were fitted to."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, omega: Tensor, grid: Tensor, surrogate: FittedPolynomial) -> Tensor:
        ctx.surrogate, ctx.dtypes = surrogate, (a.dtype, omega.dtype, grid.dtype)
        return surrogate.powers()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, moments: Tensor) -> tuple[Tensor | None, ...]:
        at_coefficients = ctx.surrogate.from_powers(moments.double())
        return (*ctx.surrogate.theta_gradient(at_coefficients, ctx.needs_input_grad[:3], ctx.dtypes), None)

"""Evaluation of a polynomial of BA through the monomials that it factors over, without any m × n tensor.

With t = scale · BA, the multinomial theorem splits every elementwise power exactly,

    t_ij^k = Σ_{|α| = k} k!/α! · (scale · B)_i^α · A_j^α,

so that ΔW = Σ_k c_k t^{∘k} is a product of rank C(r + d, d): its rows are the monomials α of degree 0 … d in the r
rows of A, its columns those in the r columns of B. A layer with this ΔW is one more LoRA product, of that rank. The
constant c_0 is the monomial of degree 0, a row of ones, and so costs one rank and no code.

**Gauge.** BA = (BP⁻¹)(PA) for any P, but not the sum over monomials in floating point, where k-th powers of terms that
cancel in BA, or underflow on one side and overflow on the other, lose what BA itself does not. P = D Vᵀ avoids both.
V, the eigenvectors of AAᵀ, makes the rows of A orthogonal, after which no row of BA is shorter than its terms. D, of
powers of two, brings the largest entry of each to between ½ and 1: monomials of A are at most 1, and those of B are
what they contribute, about 1 at most where |t| ≤ 1. There the multinomials and c_k meet, as one weight per monomial,
and nothing need be split between the sides. Since BA does not depend on P, P is a constant to the gradients.

**Gradients.** From ∂_v of a sum over monomials, as k!/α! · α_v = k · (k−1)!/β! for α = β + e_v,

    ∂/∂A_v = Σ_β [ (|β| + 1) c_{|β|+1} |β|!/β! · A^β ] ∘ raw_{β + e_v},

the monomials of φ' times those rows of the raw gradient that are one v richer: a gather and a sum, no scatter.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain, combinations_with_replacement, pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.autograd.function import once_differentiable

from lrlora.engines.chebyshev import constant

HIGHEST_DEGREE = 8
"""Past this degree the monomials are many for any rank but 1, and the coefficients of powers cancel in float32."""

LARGEST_EXPONENT = 100
"""Of the powers of two in D: far past any adapter, and they and their inverses are normal numbers."""


def monomial_count(r: int, degree: int) -> int:
    """The number of monomials of degree 1 … ``degree`` in r variables, C(r + degree, degree) − 1."""
    return math.comb(r + degree, degree) - 1


def monomials(M: Tensor, degree: int) -> Tensor:
    """Every monomial of degree 1 … ``degree`` in the rows of M, in order of degree.

    Args:
        M: ``(r, n)``.
        degree: At least 1.

    Returns:
        ``(monomial_count(r, degree), n)``, differentiable in M.
    """
    return _monomials_from_one(M, degree)[1:]


def power_linear(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, A: Tensor, B: Tensor, coefficients: Tensor, scale: float
) -> Tensor:
    """x (W + ΔW)ᵀ + b, or x ΔWᵀ, with ΔW = Σ_k c_k (scale · BA)^{∘k}. Differentiable once in every tensor.

    Between forward and backward it keeps its arguments, as LoRA does, and nothing else.

    Args:
        x: ``(..., in)``.
        weight: ``(out, in)``, or None.
        bias: ``(out,)``, of a layer that has a weight.
        A: ``(r, in)``.
        B: ``(out, r)``.
        coefficients: c_0 … c_d, ``(d + 1,)``, d ≥ 1; of any floating type, which is also that of its gradient.
        scale: Of BA.

    Returns:
        ``(..., out)``.

    Raises:
        ValueError: Fewer than two coefficients.
    """
    out: Tensor = _PowerLinear.apply(x, weight, bias, A, B, coefficients, scale)
    return out


def power_delta(A: Tensor, B: Tensor, coefficients: Tensor, scale: float) -> Tensor:
    """ΔW itself, ``(out, in)``, differentiable. For merging and analysis; arguments as in :func:`power_linear`."""
    factors = _factors(A, B, coefficients, scale)
    return factors.B.T @ (factors.weights * factors.A)


def power_forward(
    x: Tensor, A: Tensor, B: Tensor, coefficients: Tensor, scale: float, onto: Tensor | None = None
) -> Tensor:
    """x ΔWᵀ for ``x`` of shape ``(T, in)``: ``(T, out)``.

    Args:
        x: ``(T, in)``.
        A: ``(r, in)``.
        B: ``(out, r)``.
        coefficients: ``(d + 1,)``.
        scale: Of BA.
        onto: ``(T, out)``. If given, the result is added to it in place, which saves a pass over it.
    """
    factors = _factors(A, B, coefficients, scale)
    # The thin side first, (R, T): MKL is up to twice as fast as at (T, R) where R is no multiple of 16.
    return _add_product(onto, factors.A @ x.T, factors.weights * factors.B)


def power_pullback(
    x: Tensor,
    grad_rows: Tensor,
    A: Tensor,
    B: Tensor,
    coefficients: Tensor,
    scale: float,
    wants: tuple[bool, bool, bool, bool] = (True, True, True, True),
    onto: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """From the gradient of :func:`power_forward`'s result to those of x, A, B and the coefficients.

    With G = grad_rowsᵀ x, the gradient of c_k is the moment Σ_ij G_ij t_ij^k. G is not formed.

    Args:
        x: ``(T, in)``.
        grad_rows: ``(T, out)``.
        A: ``(r, in)``.
        B: ``(out, r)``.
        coefficients: ``(d + 1,)``.
        scale: Of BA.
        wants: Which of the four to compute; the others are None.
        onto: ``(T, in)``. If given, the gradient of x is added to it in place.
    """
    wants_x, wants_A, wants_B, wants_c = wants
    factors = _factors(A, B, coefficients, scale)
    grad_x = grad_A = grad_B = grad_c = None
    # U and V, (R + 1, T): x and its result's gradient in the space between the factors.
    U = factors.A @ x.T if wants_B or wants_c else None
    V = factors.B @ grad_rows.T if wants_x or wants_A or wants_c else None
    if U is not None and V is not None and wants_c:
        moments = (U * V).sum(1, dtype=torch.float64)
        grad_c = (factors.table.value @ moments).to(coefficients.dtype)
    if V is not None and wants_A:
        grad_A = factors.gauges[0].T @ factors.onto_variables(factors.A, V @ x)
    if U is not None and wants_B:
        grad_B = factors.onto_variables(factors.B, U @ grad_rows).T @ factors.gauges[1]
    if V is not None and wants_x:
        grad_x = _add_product(onto, V, factors.weights * factors.A)
    return grad_x, grad_A, grad_B, grad_c


class _PowerLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, A: Tensor, B: Tensor, c: Tensor, scale: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, A, B, c)
        ctx.scale = scale
        rows = x.reshape(-1, x.shape[-1])
        onto = None if weight is None else F.linear(rows, weight, bias)
        return power_forward(rows, A, B, c, scale, onto=onto).view(*x.shape[:-1], B.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, A, B, c = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, *wants_rest = ctx.needs_input_grad[:6]
        rows = rearrange(x, "... features -> (...) features")
        grad_rows = rearrange(grad_y, "... out -> (...) out")
        pulled = power_pullback(
            rows,
            grad_rows,
            A,
            B,
            c,
            ctx.scale,
            wants=(wants_x, *wants_rest),
            onto=grad_rows @ weight if wants_x and weight is not None else None,
        )
        grad_x = None if pulled[0] is None else pulled[0].view(x.shape)
        grad_weight = grad_rows.T @ rows if wants_weight else None
        grad_bias = grad_rows.sum(0) if wants_bias else None
        return grad_x, grad_weight, grad_bias, *pulled[1:], None


class _Table(NamedTuple):
    """Which monomial comes of which, for one number of variables and one degree. Monomial 0 is the constant."""

    steps: tuple[tuple[Tensor, Tensor], ...]
    """For each degree k ≥ 2, the places of the parents within degree k − 1, and the variables to multiply by."""
    children: Tensor
    """``(r, C(r + d − 1, r))``: the place, among all, of each monomial of degree below d times each variable."""
    value: Tensor
    """``(d + 1, R + 1)``: each monomial's multinomial coefficient, in the row of its degree. c ↦ c @ value weighs φ."""
    slope: Tensor
    """``(d + 1, C(r + d − 1, r))``: the same for φ', whose monomials are those of degree below d."""


@constant
def _table(r: int, degree: int, device: torch.device) -> _Table:
    levels = [list(combinations_with_replacement(range(r), k)) for k in range(degree + 1)]
    steps = []
    for lower, level in pairwise(levels[1:]):
        place = {alpha: i for i, alpha in enumerate(lower)}
        parents = torch.tensor([place[alpha[:-1]] for alpha in level], device=device)
        steps.append((parents, torch.tensor([alpha[-1] for alpha in level], device=device)))

    everything = list(chain.from_iterable(levels))
    place = {alpha: i for i, alpha in enumerate(everything)}
    inner = everything[: -len(levels[-1])]
    children = [[place[tuple(sorted((*beta, v)))] for beta in inner] for v in range(r)]

    value = torch.zeros(degree + 1, len(everything), dtype=torch.float64)
    slope = torch.zeros(degree + 1, len(inner), dtype=torch.float64)
    for i, alpha in enumerate(everything):
        value[len(alpha), i] = _multinomial(alpha)
    for i, beta in enumerate(inner):
        slope[len(beta) + 1, i] = (len(beta) + 1) * _multinomial(beta)
    return _Table(tuple(steps), torch.tensor(children, device=device), value.to(device), slope.to(device))


def _multinomial(alpha: tuple[int, ...]) -> int:
    return math.factorial(len(alpha)) // math.prod(math.factorial(power) for power in Counter(alpha).values())


def _monomials_from_one(M: Tensor, degree: int) -> Tensor:
    """As :func:`monomials`, after a row of ones."""
    levels = [torch.ones_like(M[:1]), M]
    for parents, variables in _table(M.shape[0], degree, M.device).steps:
        levels.append(levels[-1].index_select(0, parents).mul_(M.index_select(0, variables)))
    return torch.cat(levels)


class _Factors(NamedTuple):
    """ΔW = Bᵀ (weights ∘ A)."""

    A: Tensor
    """``(R + 1, in)``: the monomials in the rows of PA."""
    B: Tensor
    """``(R + 1, out)``: those in the columns of scale · BP⁻¹."""
    weights: Tensor
    """``(R + 1, 1)``."""
    slopes: Tensor
    """``(C(r + d − 1, r), 1)``: the weights of the derivative."""
    gauges: tuple[Tensor, Tensor]
    """P and scale · P⁻ᵀ, ``(r, r)`` each: what A and Bᵀ were multiplied by."""
    table: _Table

    def onto_variables(self, rows: Tensor, raw: Tensor) -> Tensor:
        """From the gradient of the unweighted monomials, ``(R + 1, n)``, to that of the variables, ``(r, n)``."""
        children = self.table.children
        richer = rearrange(raw.index_select(0, children.flatten()), "(r inner) n -> r inner n", r=children.shape[0])
        return richer.mul_(self.slopes * rows[: children.shape[1]]).sum(1)


def _factors(A: Tensor, B: Tensor, coefficients: Tensor, scale: float) -> _Factors:
    degree = coefficients.shape[0] - 1
    if degree < 1:
        raise ValueError(f"a polynomial of degree 1 or more has at least two coefficients, got {degree + 1}")
    table = _table(A.shape[0], degree, A.device)
    to_A, to_B = _gauge(A.detach(), scale)
    c = coefficients.to(torch.float64)
    return _Factors(
        A=_monomials_from_one(to_A @ A, degree),
        B=_monomials_from_one(to_B @ B.T, degree),
        weights=(c @ table.value).to(A.dtype)[:, None],
        slopes=(c @ table.slope).to(A.dtype)[:, None],
        gauges=(to_A, to_B),
        table=table,
    )


def _gauge(A: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """P and scale · P⁻ᵀ."""
    # In float64, because squaring doubles the digits that are lost. Where A is not finite, it shall be what says so.
    squared = A.double() @ A.double().T
    rotation = torch.linalg.eigh(squared.nan_to_num(0.0, 0.0, 0.0)).eigenvectors.T.to(A.dtype)
    largest = (rotation @ A).abs().amax(1, keepdim=True)
    exponents = torch.frexp(largest).exponent.clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT)
    return torch.ldexp(rotation, -exponents), torch.ldexp(rotation, exponents) * scale


def _add_product(onto: Tensor | None, thin: Tensor, wide: Tensor) -> Tensor:
    """``onto`` + thinᵀ wide, in place, or the product."""
    return thin.T @ wide if onto is None else onto.addmm_(thin.T, wide)

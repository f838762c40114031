"""Evaluation through monomials of the factors of BA: a LoRA product of rank K, without any m × n matrix.

    y = base_layer(x) + ((x aᵀ) ∘ w) bᵀ,   a: (K, in), b: (out, K) the monomials, w their weights.

The weights are linear in the coefficients of the polynomial, and so in the values of f at a few points. In a plan
that is stale, because BA outgrew its range ρ, the polynomial would grow without bound. There
f(z) is replaced by f(γz)/γ with γ = ρ / bound(|z|) < 1, computed on the device. It is exact for a linear φ and grows
no faster than |z|. γ counts as a constant of the plan: it takes no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lrlora.engines.coefficients import Coefficients
from lrlora.engines.differentiation import as_rows, once
from lrlora.engines.entries import Array, Entries
from lrlora.engines.leading_monomials import Frame, Monomials, closed, leading_monomials
from lrlora.engines.plan import Plan
from lrlora.engines.polynomial import PolynomialFit
from lrlora.transfer import TransferFunction


@dataclass(frozen=True)
class Level:
    """Monomials ``first`` to ``last`` as products of earlier ones.

    Attributes:
        factors: Indices of the first factors, then of the second, ``(2 · (last − first),)``.
        scatter: From gradients times the first, then the second factors to the gradients of the earlier monomials,
            ``(first, 2 · (last − first))``. A product with it is a deterministic scatter.
    """

    first: int
    last: int
    factors: Tensor
    scatter: Tensor


@dataclass(frozen=True)
class MonomialPlan(Plan):
    """A set of monomials, and how their weights follow from θ.

    Attributes:
        rho: ρ, the range of z.
        degree: Of the polynomial.
        error: Relative error of ΔW on the sample, when the plan was made.
        weights: w as a function of θ, ``(K,)``.
        to_A, to_B: What A and B are multiplied by, ``(r, r)`` each.
        size: q, ``(r,)``, with t = Σ_v q_v b_v a_v.
        powers: (1 − |α|) / 2, ``(K,)``, the power of the squared range that a stale weight is divided by.
        levels: How the monomials are made.
        constant: Whether the last weight is that of a constant, of an update that is not centred.
        source: What the plan is saved as.
    """

    form: ClassVar[str] = "monomials"
    rho: float
    degree: int
    error: float
    weights: Coefficients
    to_A: Tensor
    to_B: Tensor
    size: Tensor
    powers: Tensor
    levels: tuple[Level, ...]
    constant: bool
    source: dict[str, Any]

    @classmethod
    def made(
        cls,
        entries: Entries,
        transfer: TransferFunction,
        fit: PolynomialFit,
        tolerance: float,
        most: int,
        growth: float = 1.0,
    ) -> MonomialPlan | None:
        """Returns the plan for a fitted polynomial; None if more than ``most`` monomials are needed."""
        frame = Frame.of(entries, fit.rho)
        matrix, values = fit.in_powers()
        grown = values[1:] * growth ** np.arange(fit.degree)
        chosen = leading_monomials(entries, frame, grown, fit.rho, tolerance, most)
        if chosen is None:
            return None
        monomials, error = chosen
        source = {
            "form": cls.form,
            "rho": fit.rho,
            "degree": fit.degree,
            "error": float(np.hypot(error, fit.error)),
            "points": fit.points.tolist(),
            "matrix": matrix.tolist(),
            "to_A": frame.to_A.tolist(),
            "to_B": frame.to_B.tolist(),
            "size": frame.size.tolist(),
            "exponents": monomials.exponents[len(frame.size) :].tolist(),
            "scale": transfer.output_scale,
            "residual": transfer.residual,
            "centered": transfer.centered,
        }
        return cls._of(source, monomials)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MonomialPlan:
        """See :meth:`Plan.from_dict`."""
        r = len(data["size"])
        return cls._of(data, closed(np.asarray(data["exponents"], dtype=np.int64).reshape(-1, r), r))

    @classmethod
    def _of(cls, data: dict[str, Any], monomials: Monomials) -> MonomialPlan:
        size = np.asarray(data["size"])
        matrix = np.asarray(data["matrix"])
        of_monomials = _multinomials(monomials.exponents, size)[:, None] * matrix[monomials.degrees]
        constant = not data["centered"]
        if constant:
            of_monomials = np.concatenate([of_monomials, matrix[:1]])
        weights = Coefficients.made(
            torch.tensor(data["points"], dtype=torch.float64),
            torch.from_numpy(of_monomials),
            scale=data["scale"],
            residual=data["residual"],
            centered=data["centered"],
        )
        powers = torch.from_numpy((1 - monomials.degrees) / 2)
        return cls(
            rho=data["rho"],
            degree=data["degree"],
            error=data["error"],
            weights=weights,
            to_A=torch.tensor(data["to_A"], dtype=torch.float64),
            to_B=torch.tensor(data["to_B"], dtype=torch.float64),
            size=torch.from_numpy(size),
            powers=torch.cat([powers, powers.new_zeros(1)]) if constant else powers,
            levels=tuple(_as_level(*level) for level in monomials.levels),
            constant=constant,
            source=data,
        )

    @property
    def device(self) -> torch.device:
        """See :attr:`Plan.device`."""
        return self.to_A.device

    def to_dict(self) -> dict[str, Any]:
        """See :meth:`Plan.to_dict`."""
        return self.source

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Self:
        """See :meth:`Plan.to`."""
        levels = (
            Level(
                level.first,
                level.last,
                level.factors.to(device),
                level.scatter.to(device=device, dtype=dtype),
            )
            for level in self.levels
        )
        names = ("to_A", "to_B", "size", "powers")
        moved = {name: getattr(self, name).to(device=device, dtype=dtype) for name in names}
        return replace(self, weights=self.weights.to(device), levels=tuple(levels), **moved)

    def describe(self) -> str:
        """See :meth:`Plan.describe`."""
        count = len(self.powers)
        return f"{count} monomials of degree {self.degree} on |z| ≤ {self.rho:.3g}, relative error {self.error:.1e}"

    # -- evaluation -----------------------------------------------------------------------------------------

    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Tensor:
        """See :meth:`Plan.delta`."""
        a, b, w = self._factors(A, B, transfer)
        return (b * w[:, None]).mT @ a

    def linear(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        A: Tensor,
        B: Tensor,
        transfer: TransferFunction,
    ) -> Tensor:
        """See :meth:`Plan.linear`."""
        if weight is None:
            base = x.new_zeros(*x.shape[:-1], len(B))
        else:
            base = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        return self.add_to(base, x, A, B, transfer)

    def add_to(self, result: Tensor, x: Tensor, A: Tensor, B: Tensor, transfer: TransferFunction) -> Tensor:
        """See :meth:`Plan.add_to`."""
        added: Tensor = _MonomialProduct.apply(result, x, A, B, self.weights(transfer, A.dtype), self)
        return added

    def frozen(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> FrozenMonomials:
        """See :meth:`Plan.frozen`."""
        a, b, w = self._factors(A, B, transfer)
        return FrozenMonomials(**vars(self), a=a.contiguous(), b=b * w[:, None])

    def _return_to_range(self, both: Tensor, n: int) -> Tensor:
        """γ^(|α| − 1), ``(K,)``, from the variables' rows of the monomials; 1 while the plan's range holds."""
        if n in (0, both.shape[1]):  # of an empty matrix there are no entries
            return torch.ones_like(self.powers)
        squares = torch.mv(both[: len(self.size)].square().mT, self.size)
        of_a, of_b = squares.split((n, both.shape[1] - n))
        bound: Tensor = of_a.amax() * of_b.amax()
        return torch.pow(bound.clamp_min(1.0), self.powers)

    def _factors(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> tuple[Tensor, Tensor, Tensor]:
        """The monomials of A and of B, ``(K, in)`` and ``(K, out)``, and w, by differentiable operations."""
        both = torch.cat([self.to_A @ A, self.to_B.mT @ B.mT], dim=1)
        for level in self.levels:
            both = torch.cat([both, torch.mul(*both.index_select(0, level.factors).chunk(2))])
        if self.constant:
            both = torch.cat([both, torch.ones_like(both[:1])])
        n = A.shape[1]
        w = self.weights(transfer, A.dtype) * self._return_to_range(both.detach(), n)
        return both[:, :n], both[:, n:], w

    def monomials_of(self, A: Tensor, B: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The monomials of A and, beside them, of B: ``(K, in + out)``; and the factors of each level."""
        n, r = A.shape[1], A.shape[0]
        both = A.new_empty(len(self.powers), n + B.shape[0])
        torch.mm(self.to_A, A, out=both[:r, :n])
        torch.mm(self.to_B.mT, B.mT, out=both[:r, n:])
        factors = []
        for level in self.levels:
            factors.append(both.index_select(0, level.factors).view(2, level.last - level.first, -1))
            torch.mul(*factors[-1].unbind(), out=both[level.first : level.last])
        if self.constant:
            both[-1] = 1
        return both, factors

    def pull_back(self, gradient: Tensor, factors: list[Tensor], n: int) -> tuple[Tensor, Tensor]:
        """From the gradient of :meth:`monomials_of`, which is overwritten, to those of A and B."""
        for level, both_factors in zip(reversed(self.levels), reversed(factors), strict=True):
            pieces = both_factors.mul_(gradient[level.first : level.last]).view(level.scatter.shape[1], -1)
            gradient[: level.first].addmm_(level.scatter, pieces)
        r = len(self.size)
        return self.to_A.mT @ gradient[:r, :n], gradient[:r, n:].mT @ self.to_B.mT


@dataclass(frozen=True)
class FrozenMonomials(MonomialPlan):
    """The same with the factors of ΔW computed, for parameters that do not change.

    Attributes:
        a: ``(K, in)``.
        b: ``(K, out)``, weighted.
    """

    a: Tensor
    b: Tensor

    def prefers_weight(self, tokens: int) -> bool:
        """Whether there are so many tokens that a product with each takes longer than forming ΔW."""
        n, m = self.a.shape[1], self.b.shape[1]
        return tokens * (n + m) > n * m

    def linear(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        A: Tensor,
        B: Tensor,
        transfer: TransferFunction,
    ) -> Tensor:
        """See :meth:`Plan.linear`. The parameters are those of the factors."""
        if weight is None:
            return super().linear(x, weight, bias, A, B, transfer)
        merged = torch.addmm(weight.to(self.b.dtype), self.b.mT, self.a).to(x.dtype)
        return F.linear(x, merged, None if bias is None else bias.to(x.dtype))

    def add_to(self, result: Tensor, x: Tensor, A: Tensor, B: Tensor, transfer: TransferFunction) -> Tensor:
        """See :meth:`Plan.add_to`. The parameters are those of the factors."""
        rows, base = as_rows(x).to(self.a.dtype), as_rows(result)
        inner = (self.a @ rows.mT).mT
        if base.dtype == self.a.dtype:
            return torch.addmm(base, inner, self.b).view(result.shape)
        return (base + inner @ self.b).to(base.dtype).view(result.shape)


class _MonomialProduct(torch.autograd.Function):
    """result + ((x aᵀ) ∘ w) b; keeps x, A, B, w and x aᵀ, and makes the monomials again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, x: Tensor, A: Tensor, B: Tensor, w: Tensor, plan: MonomialPlan) -> Tensor:
        n = A.shape[1]
        both, _ = plan.monomials_of(A, B)
        rows = as_rows(x).to(A.dtype)
        inner = both[:, :n] @ rows.mT  # rank first: the product is faster than with tokens first
        in_range = plan._return_to_range(both, n)
        weighted = both[:, n:] * (w * in_range)[:, None]
        base = as_rows(result)
        # Allocated here, since models may write into what a layer returns, which autograd refuses for a view.
        out = torch.empty(result.shape, dtype=result.dtype, device=result.device)
        if base.dtype == A.dtype:
            torch.addmm(base, inner.mT, weighted, out=out.view(base.shape))
        else:
            torch.add(base, inner.mT @ weighted, out=out.view(base.shape))
        ctx.save_for_backward(x, A, B, w, inner, in_range)
        ctx.plan = plan
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return once(_pull_back, ctx, grad, *ctx.saved_tensors)


@torch.no_grad()
def _pull_back(
    ctx: Any, grad: Tensor, x: Tensor, A: Tensor, B: Tensor, w: Tensor, inner: Tensor, in_range: Tensor
) -> Any:
    _, wants_x, wants_A, wants_B, wants_w, _ = ctx.needs_input_grad
    n, plan = A.shape[1], ctx.plan
    both, factors = plan.monomials_of(A, B)
    a, b = both[:, :n], both[:, n:]
    outer_rows = as_rows(grad).to(A.dtype)
    outer = b @ outer_rows.mT
    grad_x = grad_A = grad_B = None
    grad_w = (outer * inner).sum(1) * in_range if wants_w else None
    effective = (w * in_range)[:, None]
    outer *= effective
    if wants_x:
        grad_x = (outer.mT @ a).to(x.dtype).view(x.shape)
    if wants_A or wants_B:
        of_both = torch.empty_like(both)
        torch.mm(outer, as_rows(x).to(A.dtype), out=of_both[:, :n])
        torch.mm(inner * effective, outer_rows, out=of_both[:, n:])
        grad_A, grad_B = plan.pull_back(of_both, factors, n)
    return grad, grad_x, grad_A if wants_A else None, grad_B if wants_B else None, grad_w, None


def _as_level(first: int, last: int, left: list[int], right: list[int]) -> Level:
    count = last - first
    scatter = torch.zeros(first, 2 * count)
    # A gradient times the first factor belongs to the second, and the other way round.
    scatter[torch.tensor(right + left), torch.arange(2 * count)] = 1
    return Level(first, last, torch.tensor(left + right), scatter)


def _multinomials(exponents: Array, size: Array) -> Array:
    """Returns (k!/α!) q^α, ``(K,)``."""
    factorial = np.cumprod(np.concatenate([[1.0], np.arange(1.0, 1 + max(1, int(exponents.sum(axis=1).max())))]))
    parts = factorial[exponents].prod(axis=1)
    return np.asarray(factorial[exponents.sum(axis=1)] / parts * np.prod(size**exponents, axis=1))

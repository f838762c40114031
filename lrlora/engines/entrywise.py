"""Evaluation entry by entry: ΔW is formed in blocks that are made again in the backward pass and never kept.

What stays between forward and backward is what LoRA keeps: x, A, B and a few coefficients. The function of an entry is
a Chebyshev series or a table; past the ends of its range it goes on linearly, so that a stale plan makes a small error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from lrlora.engines import passes
from lrlora.engines.coefficients import Coefficients, widest_float
from lrlora.engines.differentiation import as_rows, once
from lrlora.engines.plan import Plan
from lrlora.engines.polynomial import PolynomialFit
from lrlora.engines.table import TableFit, table_points
from lrlora.transfer import TransferFunction

BLOCK = 1 << 21
"""Entries of ΔW formed at a time on a CPU: a few MiB, of which the passes find most in cache."""


@dataclass(frozen=True)
class EntrywisePlan(Plan):
    """A function of the entries of t = z / ρ.

    Attributes:
        rho: ρ, the range of z.
        size: Degree of the series, or cells of the table.
        table: Whether it is a table.
        error: Relative error of ΔW on the sample, when the plan was made.
        coefficients: Of the series, or the values of the table, as a function of θ.
        source: What the plan is saved as.
    """

    form: ClassVar[str] = "entrywise"
    rho: float
    size: int
    table: bool
    error: float
    coefficients: Coefficients
    source: dict[str, Any]

    @classmethod
    def made(cls, transfer: TransferFunction, fit: PolynomialFit | TableFit) -> EntrywisePlan:
        """Returns the plan for a fitted series or table."""
        table = isinstance(fit, TableFit)
        source = {
            "form": cls.form,
            "rho": fit.rho,
            "size": fit.cells if isinstance(fit, TableFit) else fit.degree,
            "table": table,
            "error": fit.error,
            "points": None if isinstance(fit, TableFit) else fit.points.tolist(),
            "matrix": None if isinstance(fit, TableFit) else fit.matrix.tolist(),
            "scale": transfer.output_scale,
            "residual": transfer.residual,
            "centered": transfer.centered,
        }
        return cls.from_dict(source)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> EntrywisePlan:
        """See :meth:`Plan.from_dict`."""
        matrix, points = data["matrix"], data["points"]
        if data["table"]:
            points = table_points(data["rho"], data["size"])
        coefficients = Coefficients.made(
            torch.as_tensor(points, dtype=torch.float64),
            None if matrix is None else torch.tensor(matrix, dtype=torch.float64),
            scale=data["scale"],
            residual=data["residual"],
            centered=data["centered"],
        )
        return cls(data["rho"], data["size"], data["table"], data["error"], coefficients, data)

    @property
    def device(self) -> torch.device:
        """See :attr:`Plan.device`."""
        return self.coefficients.points.device

    def to_dict(self) -> dict[str, Any]:
        """See :meth:`Plan.to_dict`."""
        return self.source

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Self:
        """See :meth:`Plan.to`."""
        return replace(self, coefficients=self.coefficients.to(device))

    def describe(self) -> str:
        """See :meth:`Plan.describe`."""
        how = f"table of {self.size} cells" if self.table else f"polynomial of degree {self.size}"
        return f"{how} on |z| ≤ {self.rho:.3g}, relative error {self.error:.1e}"

    def prefers_weight(self, tokens: int) -> bool:
        """True: ΔW is formed anyway, and one product with W + ΔW is saved."""
        return True

    # -- evaluation -----------------------------------------------------------------------------------------

    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Tensor:
        """See :meth:`Plan.delta`."""
        c = self._coefficients(transfer, A.dtype)
        delta: Tensor = _Delta.apply(A, B, c, transfer.input_scale / self.rho, self.table)
        return delta

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
        c = self._coefficients(transfer, A.dtype)
        y: Tensor = _Linear.apply(x, weight, bias, A, B, c, transfer.input_scale / self.rho, self.table)
        return y

    def _coefficients(self, transfer: TransferFunction, dtype: torch.dtype) -> Tensor:
        c = self.coefficients(transfer, dtype)
        if self.table or not self.coefficients.centered:
            return c
        # A series that is zero at 0 but for rounding is made so: entries of BA that are zero leave W as it is. What is
        # subtracted is a constant, so it can be written into c without autograd.
        held = c.detach()
        zero = held.new_zeros(1, 1)
        held[:1] -= passes.values(zero, zero, passes.Series(held))[0]
        return c

    def add_to(self, result: Tensor, x: Tensor, A: Tensor, B: Tensor, transfer: TransferFunction) -> Tensor:
        """See :meth:`Plan.add_to`."""
        return result + self.linear(x, None, None, A, B, transfer).to(result.dtype)


class _Delta(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, A: Tensor, B: Tensor, c: Tensor, scale: float, table: bool) -> Tensor:
        ctx.save_for_backward(A, B, c)
        ctx.scale, ctx.table = scale, table
        return passes.values(scale * B, A, _function(c, table))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return once(_delta_pull_back, ctx, grad, *ctx.saved_tensors)


@torch.no_grad()
def _delta_pull_back(ctx: Any, grad: Tensor, A: Tensor, B: Tensor, c: Tensor) -> Any:
    scaled, gradient = ctx.scale * B, grad.to(A.dtype).clone(memory_format=torch.contiguous_format)
    moments = passes.pull_back(scaled, A, _function(c, ctx.table), gradient)
    return scaled.mT @ gradient, ctx.scale * (gradient @ A.mT), moments.to(c.dtype), None, None


class _Linear(torch.autograd.Function):
    """x (W + ΔW)ᵀ + b. One product forward, two backward; entries are computed in the dtype of A and rounded once."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        A: Tensor,
        B: Tensor,
        c: Tensor,
        scale: float,
        table: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, A, B, c)
        ctx.scale, ctx.table = scale, table
        scaled, p = scale * B, _function(c, table)
        # Allocated here, since models may write into what a layer returns, which autograd refuses for a view.
        out = x.new_empty(*x.shape[:-1], len(B))
        in_rows, out_rows = as_rows(x), as_rows(out)
        for rows in _blocks(B, A):
            entries = passes.values(scaled[rows], A, p, base=None if weight is None else weight[rows]).to(x.dtype)
            if bias is None:
                torch.mm(in_rows, entries.mT, out=out_rows[:, rows])
            else:
                torch.addmm(bias[rows].to(x.dtype), in_rows, entries.mT, out=out_rows[:, rows])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, *parameters = ctx.saved_tensors
        ctx.weight = weight
        return once(_linear_pull_back, ctx, grad, x, *parameters)


@torch.no_grad()
def _linear_pull_back(ctx: Any, grad: Tensor, x: Tensor, A: Tensor, B: Tensor, c: Tensor) -> Any:
    wants_x, wants_weight, wants_bias, wants_A, wants_B, wants_c, *_ = ctx.needs_input_grad
    weight, scaled, p = ctx.weight, ctx.scale * B, _function(c, ctx.table)
    out_rows, in_rows = as_rows(grad), as_rows(x)
    grad_x: Tensor | None = None
    grad_A: Tensor | None = None
    grad_weight = torch.empty_like(weight) if wants_weight else None
    grad_B = torch.empty_like(B)
    grad_c = torch.zeros_like(c, dtype=widest_float(c.device))
    for rows in _blocks(B, A):
        base = None if weight is None else weight[rows]
        incoming = out_rows[:, rows]
        entries: Tensor | None = None
        if wants_weight or wants_A or wants_B or wants_c:
            gradient = (incoming.mT @ in_rows).to(A.dtype)
            if grad_weight is not None:
                grad_weight[rows] = gradient
            entries = torch.empty_like(gradient) if wants_x else None
            grad_c += passes.pull_back(scaled[rows], A, p, gradient, base=base, out=entries)
            torch.mm(gradient, A.mT, out=grad_B[rows])
            grad_A = _plus_product(grad_A, scaled[rows].mT, gradient)
        if wants_x:
            if entries is None:
                entries = passes.values(scaled[rows], A, p, base=base)
            grad_x = _plus_product(grad_x, incoming, entries.to(x.dtype))
    return (
        None if grad_x is None else grad_x.view(x.shape),
        grad_weight,
        out_rows.sum(0) if wants_bias else None,
        grad_A if wants_A else None,
        grad_B.mul_(ctx.scale) if wants_B else None,
        grad_c.to(c.dtype) if wants_c else None,
        None,
        None,
    )


def _plus_product(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    return left @ right if total is None else total.addmm_(left, right)


def _blocks(B: Tensor, A: Tensor) -> list[slice]:
    """Rows of ΔW formed at a time: all of them, but on a CPU."""
    height = max(1, len(B))
    if B.device.type == "cpu":
        height = max(1, BLOCK // max(1, A.shape[1]))
    return [slice(start, start + height) for start in range(0, max(1, len(B)), height)]


def _function(c: Tensor, table: bool) -> passes.Series | passes.Table:
    return passes.Table(c) if table else passes.Series(c)

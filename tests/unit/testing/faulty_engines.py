"""Two engines that conform, one of which plans; and engines with one fault each, with the check that finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gallery import Gallery
from torch import Tensor

from lrlora.engines.direct import DirectEngine
from lrlora.transfer import TransferFunction

FAULTS = Gallery()
"""The check must be the only one that fails."""
found_by = FAULTS.found_by


class Planless(DirectEngine):
    """The definition."""

    def plan(
        self, A: Tensor, B: Tensor, transfer: TransferFunction, *, growth: float = 1.0, previous: Any = None
    ) -> Any:
        return None

    def add_to(self, result: Tensor, x: Tensor, *rest: Any) -> Tensor:
        return result + self.linear(x, None, None, *rest)


@dataclass(frozen=True)
class SeriesPlan:
    """A range of z, the nodes on it, and the matrix from values at nodes to Chebyshev coefficients."""

    reach: float
    nodes: Tensor
    to_series: Tensor

    def to(self, device: torch.device) -> SeriesPlan:
        return SeriesPlan(self.reach, self.nodes.to(device), self.to_series.to(device))

    def describe(self) -> str:
        return f"degree {len(self.nodes) - 1} on |z| ≤ {self.reach:g}"


class Series(Planless):
    """A Chebyshev series on the planned range, and its tangents beyond; the definition where none settles."""

    settled = 0.02

    @torch.autocast("cpu", enabled=False)
    def plan(
        self, A: Tensor, B: Tensor, transfer: TransferFunction, *, growth: float = 1.0, previous: Any = None
    ) -> SeriesPlan | None:
        reach = max(transfer.input_scale * self.reach(A.detach(), B.detach(), growth) if len(B) else 0.0, 1e-30)
        for degree in (4, 8, 16, 32, 64, 128):
            nodes, to_series = (torch.tensor(one) for one in series_matrix(degree))
            plan = SeriesPlan(reach, nodes.to(A), to_series.to(A))
            c = plan.to_series @ transfer.to(A.dtype)(reach * plan.nodes).detach()
            if (
                not c[degree // 2 :].abs().sum() > self.settled * self.tolerance * c.abs().sum()
            ):  # NaN counts as settled
                return plan
        return None

    def reach(self, A: Tensor, B: Tensor, growth: float) -> float:
        return growth * float(B.norm(dim=1).amax() * A.norm(dim=0).amax())

    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction, plan: Any = None) -> Tensor:
        plan = self.plan(A, B, transfer) if plan is None else plan
        if plan is None:
            return Planless.delta(self, A, B, transfer)
        nodes, to_series = plan.nodes.to(A.dtype), plan.to_series.to(A.dtype)
        c = self.coefficients(to_series @ transfer(plan.reach * nodes))
        f = self.evaluate(c, (transfer.input_scale / plan.reach) * (B @ A))
        return transfer.output_scale * (f - self.evaluate(c, torch.zeros_like(A[:1, :1])) if transfer.centered else f)

    def coefficients(self, c: Tensor) -> Tensor:
        return c

    def evaluate(self, c: Tensor, t: Tensor) -> Tensor:
        """The series where |t| ≤ 1, and the tangent at the nearer end elsewhere."""
        inside = torch.where(t.abs() > 1, t.sign(), t)
        order = torch.arange(len(c), dtype=t.dtype, device=t.device)
        slope = torch.where(t > 0, (c * order**2).sum(), (c * order**2 * (-1) ** (order + 1)).sum())
        return clenshaw(c, inside) + torch.where(t.abs() > 1, slope * (t - inside), t - t)


def series_matrix(degree: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Chebyshev nodes ``(degree + 1,)``, and the matrix from values there to coefficients."""
    nodes = np.polynomial.chebyshev.chebpts1(degree + 1)
    matrix = 2 / (degree + 1) * np.polynomial.chebyshev.chebvander(nodes, degree).T
    matrix[0] /= 2
    return nodes, matrix


def clenshaw(c: Tensor, t: Tensor) -> Tensor:
    one, two = torch.zeros_like(t), torch.zeros_like(t)
    for k in range(len(c) - 1, 0, -1):
        one, two = c[k] + 2 * t * one - two, one
    return c[0] + t * one - two


# -- one fault each ---------------------------------------------------------------------------------------------------


@found_by("check_values", "ΔW is")
class CutsOffTheRange(Planless):
    """φ is constant past |z| = 2.2."""

    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction, plan: Any = None) -> Tensor:
        z = transfer.input_scale * (B @ A)
        return transfer.output_scale * transfer(torch.where((z.abs() > 2.2) & z.isfinite(), 2.2 * z.sign(), z))


@found_by("check_values", "ΔW is")
class ForgetsTheOutputScale(Planless):
    """Right where s_out is 1."""

    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction, plan: Any = None) -> Tensor:
        return transfer(transfer.input_scale * (B @ A))


@found_by("check_gradients", "the gradient of amplitude is 1.0e-01 off, relative, the difference quotient")
class WrongGradientOfTheta(Series):
    """A tenth too small."""

    def coefficients(self, c: Tensor) -> Tensor:
        return c.detach() + 0.9 * (c - c.detach())


@found_by("check_gradients", "the difference quotient of the engine's own output")
class GradientOfTheDefinition(Series):
    """Right to its tolerance, but not of the function that was evaluated."""

    settled = 0.2

    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction, plan: Any = None) -> Tensor:
        exact = Planless().delta(A, B, transfer)
        return exact + (super().delta(A, B, transfer, plan) - exact).detach()


@found_by("check_dtypes", "linear for x of bfloat16 and factors of float32 is float32, not bfloat16")
class Float32Output(Series):
    def linear(
        self, x: Tensor, weight: Any, bias: Any, A: Tensor, B: Tensor, transfer: Any, plan: Any = None
    ) -> Tensor:
        wide = torch.promote_types(x.dtype, A.dtype)
        y = super().linear(x.to(wide), weight, None, A, B, transfer, plan)
        return y if bias is None else y + bias


@found_by("check_shapes", "one-dimensional x")
class RowsOnly(Series):
    """Takes x for a matrix."""

    def linear(self, x: Tensor, *rest: Any) -> Tensor:
        return super().linear(x.reshape(-1, x.shape[-1]), *rest)


@found_by("check_stale_plan", "times what a straight continuation of φ gives")
class Explodes(Series):
    """The series goes on past its range."""

    def evaluate(self, c: Tensor, t: Tensor) -> Tensor:
        return clenshaw(c, t)


@found_by("check_stale_plan", "with a range 1.5 times that of the plan")
class NoHeadRoom(Series):
    """Plans for the present range and no more, past which φ is constant."""

    def reach(self, A: Tensor, B: Tensor, growth: float) -> float:
        return 1.01 * float((B @ A).abs().amax())

    def evaluate(self, c: Tensor, t: Tensor) -> Tensor:
        return clenshaw(c, torch.where((t.abs() > 1) & t.isfinite(), t.sign(), t))


@found_by("check_not_finite", "an entry of ΔW is finite where the definition's is not, for nan in A")
class HidesNaN(Series):
    def delta(self, *arguments: Any) -> Tensor:
        return super().delta(*arguments).nan_to_num()


@found_by("check_linear", "linear is")
class IgnoresTheBias(Series):
    def linear(self, x: Tensor, weight: Any, bias: Any, *rest: Any) -> Tensor:
        return super().linear(x, weight, None, *rest)


@found_by("check_linear", "add_to is")
class AddsTwice(Series):
    def add_to(self, result: Tensor, x: Tensor, *rest: Any) -> Tensor:
        return super().add_to(super().add_to(result, x, *rest), x, *rest)


@found_by("check_deterministic", "differ by")
class Noisy(Series):
    """By a unit in the last place of float32."""

    def delta(self, A: Tensor, *rest: Any) -> Tensor:
        delta = super().delta(A, *rest)
        return delta if A.dtype == torch.float64 else delta * (1 + 1e-6 * torch.rand_like(delta))


@found_by("check_inputs_unchanged", "changes its input `result` in place")
class AddsInPlace(Series):
    def add_to(self, result: Tensor, x: Tensor, *rest: Any) -> Tensor:
        return result.add_(self.linear(x, None, None, *rest))


@found_by("check_modes", "under no_grad the output requires a gradient")
class AlwaysRecords(Series):
    def linear(self, *arguments: Any) -> Tensor:
        with torch.enable_grad():
            return super().linear(*arguments)


@found_by("check_no_synchronization", "a step reads a value")
class ReadsValues(Planless):
    """Decides at every step, by the values, whether there is anything to do."""

    def linear(
        self, x: Tensor, weight: Any, bias: Any, A: Tensor, B: Tensor, transfer: Any, plan: Any = None
    ) -> Tensor:
        if weight is not None and not float(B.detach().abs().sum()):
            return F.linear(x, weight, bias)
        return super().linear(x, weight, bias, A, B, transfer, plan)


@found_by("check_no_synchronization", "makes a tensor on another device")
class PlanStaysBehind(Series):
    """Makes a plan's tensors anew, where the default device is."""

    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction, plan: Any = None) -> Tensor:
        if plan is not None:
            nodes, to_series = (torch.tensor(one, dtype=A.dtype) for one in series_matrix(len(plan.nodes) - 1))
            plan = SeriesPlan(plan.reach, nodes, to_series)
        return super().delta(A, B, transfer, plan)

"""Bases with one fault each in their gradients, or in where they are finite; see ``faulty_bases``."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from faulty_bases import bell, found_by, u_of
from torch import Tensor

from lrlora.bases import Basis, ShiftedBasis

# -- gradients --------------------------------------------------------------------------------------------------------


@found_by("check_gradient_in_z", "no gradient reaches z, though ψ_")
@found_by("check_gradient_in_grid", "no gradient reaches z_i")
class Detached(ShiftedBasis):
    """The graph ends here."""

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u.detach())


@found_by("check_gradient_in_bandwidth", "no gradient reaches ω, though ψ_")
@found_by("check_adapter_trains_and_merges", "no gradient reaches", "lrlora_bandwidth")
class DetachedBandwidth(Basis):
    """ω changes the values and gets no gradient."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(u_of(z, grid, bandwidth.detach()))


@found_by("check_gradient_in_grid", "no gradient reaches z_i, though ψ_")
class DetachedGrid(Basis):
    """z_i changes the values and gets no gradient."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(u_of(z, grid.detach(), bandwidth))


@found_by("check_gradient_in_shape", "no gradient reaches tail, though ψ_")
class DetachedShape(Basis):
    """A learned shape parameter changes the values and gets no gradient."""

    shape_parameters: ClassVar[dict[str, float]] = {"tail": 0.5}

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor, *args: Any, **shape: Any) -> Tensor:
        tail = shape.get("tail", torch.full_like(grid, 0.5)).detach()
        return bell(u_of(z, grid, bandwidth)) * (1 + tail)


@found_by("check_gradient_in_shape", "no ψ_i changes with its shape parameter tail")
class IgnoredShape(DetachedShape):
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor, *args: Any, **shape: Any) -> Tensor:
        return bell(u_of(z, grid, bandwidth))


class _Bell(torch.autograd.Function):
    """exp(−u²/2) with a gradient that is a tenth too small."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor) -> Tensor:
        return bell(u)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> Tensor:
        u, values = ctx.saved_tensors
        return -0.9 * u * values * incoming


@found_by("check_gradient_in_z", "the gradient in z is", "where the difference quotient is")
@found_by("check_gradients_add_up", "in z")
class WrongGradient(ShiftedBasis):
    """A hand-written gradient that is a tenth off."""

    def kernel(self, u: Tensor) -> Tensor:
        return _Bell.apply(u)


class _Reversed(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> Tensor:
        return -incoming


@found_by("check_gradient_in_bandwidth", "the gradient in ω is")
class ReversedBandwidth(Basis):
    """The gradient of ω has the wrong sign."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(u_of(z, grid, _Reversed.apply(bandwidth)))


@found_by("check_gradients_add_up", "a jump in z")
class Rounds(ShiftedBasis):
    """Rounds u to whole numbers."""

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u.round())


# -- finiteness -------------------------------------------------------------------------------------------------------


@found_by("check_finite_on_the_grid", "nan at z = 0 (u = 0) in ψ_1, float64")
class NothingByNothing(ShiftedBasis):
    """sin(u)/u without a thought for 0."""

    def kernel(self, u: Tensor) -> Tensor:
        return u.sin() / u


@found_by("check_finite_on_the_grid", "the gradient in z is nan at z = 0 (u = 0) in ψ_1")
class GradientThroughWhere(ShiftedBasis):
    """sin(u)/u with torch.where around the quotient: its value is right, and 0 · NaN is its gradient."""

    def kernel(self, u: Tensor) -> Tensor:
        return torch.where(u == 0, 1.0, u.sin() / u)


@found_by("check_finite_on_the_grid", "inf at z =", "in ψ_")
class Pole(ShiftedBasis):
    """A pole at u = ± 1/2."""

    def kernel(self, u: Tensor) -> Tensor:
        return 1 / (u.square() - 0.25)


@found_by("check_finite_far_off", "inf at z = 1000", "float64")
class Overflows(ShiftedBasis):
    """log(1 + eᵘ) as it is written."""

    def kernel(self, u: Tensor) -> Tensor:
        return torch.log(1 + u.exp())


@found_by("check_finite_for_any_bandwidth", "inf at z =", "ω = 10000")
class OverflowsInBandwidth(Basis):
    """As high as e^ω."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(u_of(z, grid, bandwidth)).clamp_min(1e-6) * bandwidth.exp()


@found_by("check_finite_on_the_grid", "nan at z = ", "bfloat16")
class LogarithmOfTheRest(ShiftedBasis):
    """Divides by what bfloat16 rounds to nothing."""

    def kernel(self, u: Tensor) -> Tensor:
        rest = (1 + 1e-4 * u.square()) - 1
        return torch.where(u.abs() < 0.05, torch.ones_like(u), rest / rest.where(u.abs() >= 0.05, 1.0)) * bell(u)

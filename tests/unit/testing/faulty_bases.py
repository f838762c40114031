"""Bases with one fault each, the check that finds it, and the words in which it says so.

Each is a Gaussian, or nearly, but for what its docstring says.
"""

from __future__ import annotations

import random
from typing import Any, ClassVar

import numpy as np
import torch
from gallery import Gallery
from torch import Tensor

from lrlora.bases import Basis, ShiftedBasis

FAULTS = Gallery()
found_by = FAULTS.found_by


def bell(u: Tensor) -> Tensor:
    return torch.exp(-0.5 * u.square())


def u_of(z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
    return bandwidth * (z.unsqueeze(-1) - grid)


# -- contract ---------------------------------------------------------------------------------------------------------


@found_by("check_shape", "matrix(z) of shape (3,) with 7 grid points has shape (7, 3); it must be (3, 7)")
class Transposed(Basis):
    """The functions first, for one-dimensional z and more than two of them."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        values = bell(u_of(z, grid, bandwidth))
        return values.T if values.dim() == 2 and len(grid) > 2 else values


@found_by("check_shape", "shape (0,)", "raises")
class NothingToReduce(ShiftedBasis):
    """Fails for an empty z, as a rank without rows would give it."""

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u) * (u.max() == u.max())


@found_by("check_shape", "returns a ndarray")
class NumpyResult(ShiftedBasis):
    """No tensor."""

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u).detach().numpy()  # type: ignore[return-value]


@found_by("check_dtype", "float64 arguments is float32")
class AlwaysFloat32(ShiftedBasis):
    """Float32 whatever it is given."""

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u).float()


@found_by("check_dtype", "bfloat16, and 7 grid points raises")
@found_by("check_gradient_in_z", "no gradient reaches z")
class ThroughNumpy(ShiftedBasis):
    """NumPy does the work: no bfloat16, and no gradient."""

    def kernel(self, u: Tensor) -> Tensor:
        return torch.from_numpy(np.exp(-0.5 * u.detach().numpy() ** 2))


@found_by("check_device", "another device than that of z")
class IndexOnTheDefaultDevice(Basis):
    """torch.arange without a device: right on a processor, an error on an accelerator."""

    uses_grid: ClassVar[bool] = False

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        order = torch.arange(1, len(bandwidth) + 1).to(z.dtype)
        return torch.sin(z.unsqueeze(-1) * bandwidth * order)


@found_by("check_elementwise", "not elementwise", "other values around it")
class ScaledByTheLargest(Basis):
    """Normalises z by its largest entry."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(u_of(z / (1 + z.abs().amax()) if z.numel() else z, grid, bandwidth))


@found_by("check_elementwise", "not elementwise", "it alone")
class DependsOnTheNumberOfPoints(Basis):
    """Scales by how many entries z has."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(u_of(z, grid, bandwidth)) * (1 + 0.01 * z.numel())


@found_by("check_own_parameters", "ω_1 changes ψ_2")
class NormalisedBandwidths(Basis):
    """Bandwidths relative to their mean."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(u_of(z, grid, bandwidth / bandwidth.mean()))


@found_by("check_device", "or looks at the data")
class BranchOnValues(ShiftedBasis):
    """Another formula where all entries are small."""

    def kernel(self, u: Tensor) -> Tensor:
        return 1 - 0.5 * u.square() if u.numel() and bool(u.abs().max() < 1e-4) else bell(u)


@found_by("check_bandwidth_matters", "ψ_1 of 7 does not change with its bandwidth")
class IgnoresBandwidth(Basis):
    """ω does nothing."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(z.unsqueeze(-1) - grid) + 0 * bandwidth


@found_by("check_bandwidth_matters", "no ψ_i of 7 changes with z")
class Constant(Basis):
    """Nothing does anything."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return torch.ones_like(u_of(z, grid, bandwidth))


@found_by("check_uses_grid", "uses_grid is True, but no ψ_i changes")
class IgnoresGrid(Basis):
    """Says that it has grid points."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        order = torch.arange(1, len(grid) + 1, dtype=z.dtype, device=z.device)
        return torch.sin(z.unsqueeze(-1) * bandwidth * order)


@found_by("check_uses_grid", "uses_grid is False, but a ψ_i changes")
class DeniesGrid(ShiftedBasis):
    """Says that it has none."""

    uses_grid: ClassVar[bool] = False

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u)


# -- purity -----------------------------------------------------------------------------------------------------------


@found_by("check_arguments_unchanged", "changes its argument `grid` in place")
class ShiftsTheGrid(Basis):
    """Moves the grid points where they are."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(u_of(z, grid.add_(0.01), bandwidth))


@found_by("check_arguments_unchanged", "changes its argument `z` in place")
class ChangesAndTakesBack(Basis):
    """Leaves no trace but the version of the tensor."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        values = bell(u_of(z.mul_(2), grid, bandwidth))
        z.mul_(0.5)
        return values


@found_by("check_randomness", "PyTorch's random numbers")
class Noisy(ShiftedBasis):
    """Adds noise."""

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u) + 1e-3 * torch.randn_like(u)


@found_by("check_randomness", "Python's random numbers")
class ThrowsDice(ShiftedBasis):
    """Draws a number and does not use it: whoever comes after gets others."""

    def kernel(self, u: Tensor) -> Tensor:
        random.random()
        return bell(u)


@found_by("check_randomness", "depends on the random seed")
class RemembersTheSeed(ShiftedBasis):
    """Reads the state of the generator without advancing it."""

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u) + 1e-9 * (torch.initial_seed() % 17)


@found_by("check_state", "depends on earlier calls", "in ψ_1")
class RunningRange(Basis):
    """Normalises by the largest |z| that it ever met."""

    def __init__(self) -> None:
        self.largest = 1.0

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        if z.numel():
            self.largest = max(self.largest, float(z.detach().abs().max()))
        return bell(u_of(z / self.largest, grid, bandwidth))


@found_by("check_state", "the same call twice")
@found_by("check_adapter_trains_and_merges", "the adapter's output", "off that in evaluation")
class Grows(ShiftedBasis):
    """A little higher with every call."""

    def __init__(self) -> None:
        self.calls = 0

    def kernel(self, u: Tensor) -> Tensor:
        self.calls += 1
        return bell(u) * 1.05**self.calls


@found_by("check_state", "whether gradients are recorded")
class OtherwiseInTraining(ShiftedBasis):
    """Takes a short cut where no gradients are recorded."""

    def kernel(self, u: Tensor) -> Tensor:
        return bell(u) if torch.is_grad_enabled() else 1 / (1 + 0.5 * u.square())


@found_by("check_state", "the second backward pass fails")
class KeepsAGraph(Basis):
    """Keeps the last u it was asked for, with its graph."""

    def __init__(self) -> None:
        self.last: tuple[Any, Tensor] | None = None

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        key = (id(z), z.requires_grad, len(grid))
        if not z.requires_grad or self.last is None or self.last[0] != key:
            self.last = key, bell(u_of(z, grid, bandwidth))
        return self.last[1].clone()


@found_by("check_default_dtype", "the dtype of the result follows torch's default dtype")
class WidthOfTheDefaultDtype(Basis):
    """A constant vector without a dtype."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(u_of(z, grid, bandwidth) * torch.full((len(grid),), 0.3, device=z.device))


@found_by("check_default_dtype", "depends on torch's default dtype at z =")
class RoundedConstant(Basis):
    """The same, cast afterwards: its dtype is right and its digits are not."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(u_of(z, grid, bandwidth) * torch.full((len(grid),), 0.3, device=z.device).to(z.dtype))


@found_by("check_precision", "float64 is rounded inside", "to z leaves")
class Float32Inside(Basis):
    """z goes through float32."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return bell(u_of(z.float().to(z.dtype), grid, bandwidth))

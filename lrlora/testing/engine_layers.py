"""The layers that engines are checked on, and a step of an engine on one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lrlora.bases import BASES, Basis
from lrlora.engines.direct import DirectEngine
from lrlora.transfer import TransferFunction

F32, F64 = torch.float32, torch.float64
NAMES = ("x", "A", "B", "amplitude", "bandwidth", "grid")
"""The leaves of a layer, in their order."""


@dataclass(frozen=True)
class Layer:
    """One adapted layer, made anew from a seed. Its repr tells a message which one it was.

    The fields are the basis of φ, max |s_in · BA|, N, the rank, the rows and columns of ΔW, s_in (s_out is 1 / s_in),
    whether λ = 1, whether φ(0) is subtracted, and the seed of all numbers.
    """

    basis: Basis
    largest: float = 0.5
    num: int = 8
    r: int = 2
    out: int = 7
    inside: int = 5
    input_scale: float = 1.0
    residual: bool = True
    centered: bool = True
    seed: int = 0

    def leaves(self, dtype: torch.dtype = F64, tokens: int = 6) -> list[Tensor]:
        """x ``(tokens, inside)``, A, B, a, ω and the grid; no grid point is at 0, where a kink would be in φ(0)."""
        normal = normals(self.seed)
        x, A, B = normal(tokens, self.inside), normal(self.r, self.inside), normal(self.out, self.r)
        B = B * (self.largest / (self.input_scale * (B @ A).abs().max()))
        grid = torch.linspace(-2.9, 3.0, self.num, dtype=F64) if self.num > 1 else torch.full((1,), 0.1, dtype=F64)
        leaves = [x, A, B, 0.5 * normal(self.num) / self.num**0.5, (0.1 * normal(self.num)).exp(), grid]
        return [leaf.to(dtype).requires_grad_() for leaf in leaves]

    def base(self, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
        """The weight ``(out, inside)`` and the bias ``(out,)`` of the base layer."""
        normal = normals(self.seed + 1)
        return normal(self.out, self.inside).to(dtype), normal(self.out).to(dtype)

    def transfer(self, leaves: Sequence[Tensor]) -> TransferFunction:
        """φ of the last three leaves."""
        amplitude, bandwidth, grid = leaves[3:]
        scales = (self.input_scale, 1 / self.input_scale)
        return TransferFunction(self.basis, amplitude, bandwidth, grid, *scales, self.residual, self.centered)

    def definition(self, leaves: Sequence[Tensor]) -> tuple[Tensor, float]:
        """ΔW of the definition in float64, and how far the definition in the dtype of the leaves is from it."""
        with torch.no_grad():
            exact, own = (
                DirectEngine().delta(v[1], v[2], self.transfer(v)) for v in ([leaf.double() for leaf in leaves], leaves)
            )
        return exact, 0.0 if own.dtype == F64 else float((own.double() - exact).norm())

    def straight(self, planned: Sequence[Tensor], grown: Sequence[Tensor]) -> Tensor:
        """What the largest value and slope of f near the planned range give at the grown entries, ``(out, inside)``."""
        A, B = (one.detach() for one in planned[1:3])
        reach = 2 * self.input_scale * float(B.norm(dim=1).max() * A.norm(dim=0).max())
        line = torch.linspace(-reach, reach, 2001, dtype=F64, requires_grad=True)
        values = self.transfer(planned)(line)
        (slopes,) = torch.autograd.grad(values.sum(), line)
        z = self.input_scale * (grown[2] @ grown[1]).detach().abs()
        return (float(values.detach().abs().max()) + float(slopes.abs().max()) * z) / self.input_scale


PLAIN = Layer(BASES.create("gaussian"))
"""A layer that asks little of an engine."""


@dataclass(frozen=True)
class Step:
    """An :class:`~lrlora.engines.Engine` on the leaves of a layer, under what its ``plan`` made, or under no plan."""

    engine: Any
    layer: Layer
    leaves: Sequence[Tensor]
    plan: Any = None

    def planned(self, growth: float = 1.0) -> Step:
        """The same step under a plan for its own values, and for entries of BA that are ``growth`` times as large."""
        transfer = self.layer.transfer(self.leaves)
        return replace(self, plan=self.engine.plan(*self.leaves[1:3], transfer, growth=growth))

    def at(self, leaves: Sequence[Tensor]) -> Step:
        """The step of other leaves, under the same plan."""
        return replace(self, leaves=leaves)

    def delta(self) -> Tensor:
        """ΔW, ``(out, inside)``."""
        y: Tensor = self.engine.delta(*self.leaves[1:3], self.layer.transfer(self.leaves), self.plan)
        return y

    def linear(self, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """x (W + ΔW)ᵀ + b."""
        x, *factors = self.leaves[:3]
        y: Tensor = self.engine.linear(x, weight, bias, *factors, self.layer.transfer(self.leaves), self.plan)
        return y

    def add_to(self, result: Tensor) -> Tensor:
        """The result plus x ΔWᵀ."""
        y: Tensor = self.engine.add_to(result, *self.leaves[:3], self.layer.transfer(self.leaves), self.plan)
        return y

    def gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        """Of a loss in every leaf; zero where it does not depend on one."""
        return torch.autograd.grad(loss, list(self.leaves), allow_unused=True, materialize_grads=True)


def normals(seed: int) -> Callable[..., Tensor]:
    """Draws standard normal float64 tensors of given sizes, the same ones for a seed."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, dtype=F64, generator=generator)


def strided(tensor: Tensor) -> Tensor:
    """The same values with gaps between them; of a matrix, column after column."""
    if tensor.dim() == 1:
        return torch.zeros(2 * len(tensor), dtype=tensor.dtype)[::2].copy_(tensor)
    rows, columns = tensor.shape
    return torch.zeros(columns, 2 * rows, dtype=tensor.dtype)[:, ::2].T.copy_(tensor)


def difference_quotients(loss: Callable[[Step], Tensor], step: Step) -> list[Tensor]:
    """Central differences of a loss in every entry of every leaf, in steps of 1e-6 of a leaf's root mean square."""
    at = [leaf.detach().clone() for leaf in step.leaves]
    found = []
    for leaf in at:
        by, slopes, entries = 1e-6 * float(leaf.square().mean().sqrt()), [], leaf.view(-1)
        for k, kept in enumerate(entries.tolist()):
            ends = []
            for entries[k] in (kept + by, kept - by):
                ends.append(float(loss(step.at(at))))
            entries[k] = kept
            slopes.append((ends[0] - ends[1]) / (2 * by))
        found.append(torch.tensor(slopes, dtype=leaf.dtype).view_as(leaf))
    return found

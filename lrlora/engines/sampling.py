"""What an engine sees of a basis: its values at a few points, and their derivatives in θ, for many layers at once.

Everything that an evaluation needs of φ is linear in these samples, and so is everything that the gradient of θ needs:
the entries of ΔW never meet the N functions. A plugin's ``matrix`` is called through ``vmap``, on rows of one point
each, and differentiated by ordinary autograd, so it stays plain PyTorch for a single layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from lrlora.transfer import TransferFunction, checked_features

CHUNK = 1 << 17
"""Values of basis functions to ask for at a time: enough for several threads, few enough to stay in cache."""

STORED = 1 << 21
"""Values of one layer that are kept between the passes; of more than these only the points are, and they are redone."""


@dataclass(frozen=True)
class Theta:
    """The parameters of the transfer functions of L layers of one adapter, in float64 and without gradients.

    Attributes:
        transfer: One of the functions, for the basis and for what does not differ between layers.
        amplitude, bandwidth, grid: ``(L, N)``.
    """

    transfer: TransferFunction
    amplitude: Tensor
    bandwidth: Tensor
    grid: Tensor

    @classmethod
    def stack(cls, transfers: Sequence[TransferFunction]) -> Theta:
        """From transfer functions that differ in the tensors and in the scales alone."""

        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(transfer, name).detach() for transfer in transfers]).double()

        return cls(transfers[0], stacked("amplitude"), stacked("bandwidth"), stacked("grid"))

    def of_layers(self, which: slice) -> Theta:
        """That of some of the layers."""
        return Theta(self.transfer, self.amplitude[which], self.bandwidth[which], self.grid[which])

    def of_layer(self, layer: int) -> Theta:
        """That of one layer, still with a leading dimension."""
        return self.of_layers(slice(layer, layer + 1))


@dataclass(frozen=True)
class Samples:
    """Basis functions at points, ``(L, K, N)`` each, less their values at 0, which are ``(L, N)``.

    Attributes:
        features: ψ_i(z_k) − ψ_i(0).
        in_bandwidth: Its derivative in ω_i; None where it was not asked for.
        in_grid: Its derivative in z_i; None where it was not asked for.
        origin: ψ_i(0).
        origin_in_bandwidth, origin_in_grid: The derivatives of ψ_i(0).
    """

    features: Tensor
    in_bandwidth: Tensor | None
    in_grid: Tensor | None
    origin: Tensor
    origin_in_bandwidth: Tensor | None
    origin_in_grid: Tensor | None

    def room_for(self, layers: int, dtype: torch.dtype) -> Samples:
        """Uninitialised room for so many layers."""
        room: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            room[field.name] = None if value is None else value.new_empty(layers, *value.shape[1:], dtype=dtype)
        return Samples(**room)

    def put(self, which: slice, samples: Samples) -> None:
        """Fill in some of the layers."""
        for field in fields(self):
            values = getattr(self, field.name)
            if values is not None:
                values[which] = getattr(samples, field.name)


def sample(theta: Theta, points: Tensor, *, bandwidth: bool = False, grid: bool = False) -> Samples:
    """Sample the basis.

    Args:
        theta: The parameters of L layers.
        points: ``(L, K)``, float64.
        bandwidth: Whether derivatives in ω are wanted.
        grid: Whether derivatives in the grid points are wanted.

    Raises:
        ValueError: The basis returned another shape than its contract says.
    """
    layers, count = points.shape
    z = torch.cat([points, torch.zeros_like(points[:, :1])], dim=1).reshape(-1)
    of_layer = torch.arange(layers, device=z.device).repeat_interleave(count + 1)
    found = _rows(theta, z, theta.grid[of_layer], theta.bandwidth[of_layer], bandwidth, grid)
    tensors = [None if values is None else values.view(layers, count + 1, -1) for values in found]
    inner = [None if values is None else values[:, :-1] - values[:, -1:] for values in tensors]
    origin = [None if values is None else values[:, -1] for values in tensors]
    assert inner[0] is not None
    assert origin[0] is not None
    return Samples(inner[0], inner[1], inner[2], origin[0], origin[1], origin[2])


def _rows(
    theta: Theta, z: Tensor, grid: Tensor, bandwidth: Tensor, by_bandwidth: bool, by_grid: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """ψ of every row's point with every row's own θ, and the derivatives: ``(rows, N)`` each.

    ψ_i depends on its own ω_i and z_i alone, and every row has its own copy, so that the gradient of the sum of all
    values is the derivative of each of them.
    """
    basis = theta.transfer.basis

    def one_point(z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return checked_features(basis, z, grid, bandwidth)

    # Hooks of the caller's on what autograd saves, as gradient checkpointing sets them, are not meant for this.
    no_hooks = torch.autograd.graph.saved_tensors_hooks(lambda saved: saved, lambda saved: saved)
    with no_hooks, torch.enable_grad() if by_bandwidth or by_grid else torch.no_grad():
        grid = grid.requires_grad_(by_grid)
        bandwidth = bandwidth.requires_grad_(by_bandwidth)
        values = torch.vmap(one_point)(z, grid, bandwidth)
        leaves = [leaf for leaf, wanted in ((bandwidth, by_bandwidth), (grid, by_grid)) if wanted]
        if not (leaves and values.requires_grad):
            zero = torch.zeros_like(values)
            return values.detach(), zero if by_bandwidth else None, zero if by_grid else None
        found = iter(torch.autograd.grad(values.sum(), leaves, materialize_grads=True))
    return values.detach(), next(found) if by_bandwidth else None, next(found) if by_grid else None


class ThetaGradient:
    """The gradient of θ of one layer, from the gradient with respect to the samples of f.

    Args:
        theta: The parameters of L layers.
        points: ``(L, K)``.
        samples: Of all of them, where they are few enough to be kept; None: they are made anew when asked for.
        layer: Which layer this is.
    """

    def __init__(self, theta: Theta, points: Tensor, samples: Samples | None, layer: int = 0) -> None:
        self._all = theta, points, samples
        self._layer = layer

    def __call__(
        self, at_points: Tensor, at_origin: Tensor | None, *, amplitude: bool, bandwidth: bool, grid: bool
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of a, ω and the grid points, ``(N,)`` each, float64; None for those not wanted.

        Args:
            at_points: ``(K,)``, the gradient with respect to f(z_k) − f(0).
            at_origin: The gradient with respect to f(0), for a function that is not centred.
            amplitude: Whether that of a is wanted.
            bandwidth: Whether that of ω is.
            grid: Whether that of the grid points is.
        """
        of_all, all_points, all_samples = self._all
        theta, points = of_all.of_layer(self._layer), all_points[self._layer]
        total: list[Tensor | None] = [None, None, None]
        step = len(points) if all_samples is not None else max(1, STORED // theta.amplitude.shape[1])
        for start in range(0, len(points), step):
            part = slice(start, start + step)
            layer, samples = self._layer, all_samples
            if samples is None:
                layer, samples = 0, sample(theta, points[None, part], bandwidth=bandwidth, grid=grid)
            matrices = (samples.features, samples.in_bandwidth, samples.in_grid)
            origins = (samples.origin, samples.origin_in_bandwidth, samples.origin_in_grid)
            for i, (wanted, matrix, origin) in enumerate(
                zip((amplitude, bandwidth, grid), matrices, origins, strict=True)
            ):
                if not wanted or matrix is None or origin is None:
                    continue  # also where a basis has no grid points
                found = at_points[part].to(matrix.dtype) @ matrix[layer]
                if at_origin is not None and start == 0:
                    found = found + at_origin.to(origin.dtype) * origin[layer]
                before = total[i]
                total[i] = found if before is None else before + found
        a = theta.amplitude[0]
        return total[0], *(None if found is None else found * a for found in total[1:])  # type: ignore[return-value]

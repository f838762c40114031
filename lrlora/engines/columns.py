"""What a surrogate must follow besides f: the functions that the gradient of θ sums over the entries.

They are there even where f is a straight line. N of them need not be judged one by one: the gradient is judged by its
norm, and a few random sums have the norm of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lrlora.engines.chebyshev import constant
from lrlora.engines.sampling import CHUNK, Samples, Theta, sample

PROBES = 8
STRICTNESS = 3.0
"""Of the gradients of ω and of the grid: they sum derivatives, which change sign more often, and so cancel more."""


@dataclass(frozen=True)
class Columns:
    """Functions that one polynomial degree must serve: f in column 0, then random sums of what θ's gradient sums.

    Attributes:
        values: ``(L, nodes, columns)``, less the values at 0.
        at_zero: ``(L, columns)``, what they are at 0; zero where the update is centred.
        groups: Columns that are judged together, norm-wise, as the gradient of a part of θ is.
        strictness: By how much smaller than f's the error of a group is to be.
    """

    values: Tensor
    at_zero: Tensor
    groups: list[slice]
    strictness: list[float]


def sampled_columns(
    theta: Theta, z: Tensor, *, gradients: bool, store: torch.dtype | None = None
) -> tuple[Columns, Samples | None]:
    """Sample at ``z``, ``(L, K)``, some layers at a time, and keep the columns.

    Args:
        theta: Of L layers.
        z: The points.
        gradients: Whether the gradient of θ is to be judged as well.
        store: Keep the samples too, in this dtype.
    """
    layers, count = z.shape
    at_a_time = max(1, CHUNK // ((count + 1) * theta.amplitude.shape[1]))
    by_grid = gradients and theta.transfer.basis.uses_grid
    parts: list[Columns] = []
    stored: Samples | None = None
    for start in range(0, layers, at_a_time):
        which = slice(start, start + at_a_time)
        some = theta.of_layers(which)
        samples = sample(some, z[which], bandwidth=gradients, grid=by_grid)
        parts.append(columns_of(some, z[which], samples))
        if store is not None:
            stored = stored or samples.room_for(layers, store)
            stored.put(which, samples)
    values, at_zero = (torch.cat([getattr(part, name) for part in parts]) for name in ("values", "at_zero"))
    return Columns(values, at_zero, parts[0].groups, parts[0].strictness), stored


def columns_of(theta: Theta, z: Tensor, samples: Samples) -> Columns:
    """The columns for L layers at their points ``z``, ``(L, K)``."""
    transfer, a = theta.transfer, theta.amplitude
    phi = torch.einsum("lkn,ln->lk", samples.features, a)
    values = [(z + phi if transfer.residual else phi)[:, :, None]]
    origins = [torch.einsum("ln,ln->l", samples.origin, a)[:, None]]
    strictness = [1.0]
    signs = _signs(a.shape[1], a.device)
    for matrix, origin, weights in (
        (samples.features, samples.origin, None),
        (samples.in_bandwidth, samples.origin_in_bandwidth, a),
        (samples.in_grid, samples.origin_in_grid, a),
    ):
        if matrix is None or origin is None:
            continue
        sums = signs if weights is None else weights[:, :, None] * signs
        values.append(matrix @ sums)
        origins.append((origin[:, None] @ sums)[:, 0])
        strictness.append(1.0 if weights is None else STRICTNESS)
    starts = [0]
    for part in values:
        starts.append(starts[-1] + part.shape[2])
    at_zero = torch.cat(origins, dim=1)
    return Columns(
        torch.cat(values, dim=2),
        torch.zeros_like(at_zero) if transfer.centered else at_zero,
        [slice(first, last) for first, last in pairwise(starts)],
        strictness,
    )


@constant
def _signs(n: int, device: torch.device) -> Tensor:
    """Random signs, ``(N, 8)``: the sums have the norm of the N functions. For few functions, themselves."""
    if n <= PROBES:
        return torch.eye(n, dtype=torch.float64, device=device)
    bits = torch.randint(0, 2, (n, PROBES), generator=torch.Generator().manual_seed(0))
    return (2.0 * bits - 1).double().to(device)

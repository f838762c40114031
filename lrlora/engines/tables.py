"""A table of f at equidistant nodes, read linearly.

Reading it, and collecting gradients into it, are PyTorch's own ``grid_sample`` and its backward pass, on an image of
one row: one vectorised pass each, where indexing would take a dozen.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lrlora.engines.sampling import ThetaGradient
from lrlora.engines.scratch import scratch
from lrlora.engines.surrogate import Surrogate

MOST_NODES = 1 << 20


class Table(Surrogate):
    """Values of s_out · f at equidistant nodes on [−1, 1], interpolated linearly.

    Args:
        rho: The range.
        scale: s_out.
        f: f(z_k) − f(0) at the samples, ``(K,)``.
        origin: f(0).
        centered: Whether f(0) is zero by construction.
        interpolate: From values at the samples to values, and to derivatives in t, at the nodes; linear. Derivatives
            are interpolated as well: they are more accurate than the steps that the interpolant has.
        theta: Gradient of θ.
        error: Relative error, estimated.
        dtype: Of the entries.
    """

    def __init__(
        self,
        rho: float,
        scale: float,
        f: Tensor,
        origin: Tensor,
        centered: bool,
        interpolate: Callable[[Tensor], tuple[Tensor, Tensor]],
        theta: ThetaGradient | None,
        error: float,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(rho, theta)
        self._scale, self._samples, self._centered, self._interpolate = scale, len(f), centered, interpolate
        self.error = error
        values, slopes = interpolate(f)
        self._values = (scale * (values + origin)).to(dtype)
        self._slopes = (scale * slopes).to(dtype)

    def evaluate_(self, t: Tensor, base: Tensor | None) -> None:
        """See :meth:`Surrogate.evaluate_`."""
        value = _read(_places(t), self._values, t)
        if base is None:
            t.copy_(value)
        else:
            torch.add(base, value, out=t)

    def pull_back_(self, t: Tensor, base: Tensor | None, gradient: Tensor, *, less_linear: bool = False) -> Tensor:
        """See :meth:`Surrogate.pull_back_`: the gradient is spread over the two nodes beside each entry."""
        places = _places(t)
        incoming = gradient.view(places.shape[0], 1, 1, -1)
        image = _image(self._values, places)
        spread = torch.ops.aten.grid_sampler_2d_backward(incoming, image, places, 0, 1, True, [True, False])[0]
        gradient.mul_(_read(places, self._slopes, t))
        if base is not None:
            torch.add(base, _read(places, self._values, t), out=t)
        return spread.sum(0).flatten().double()  # type: ignore[no-any-return]

    def to_samples(self, moments: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Surrogate.to_samples`."""
        with torch.enable_grad():
            f = torch.zeros(self._samples, dtype=torch.float64, device=moments.device, requires_grad=True)
            (gradient,) = torch.autograd.grad(self._interpolate(f)[0], f, moments)
        return self._scale * gradient, None if self._centered else self._scale * moments.sum()

    def describe(self) -> str:
        """See :meth:`Surrogate.describe`."""
        return f"table of {len(self._values)} nodes on |z| ≤ {self.rho:.3g}, relative error {self.error:.1e}"


def _places(t: Tensor) -> Tensor:
    """Places in an image of one row, ``(parts, 1, entries, 2)``; grid_sample runs the parts in parallel."""
    parts = torch.get_num_threads() if t.device.type == "cpu" else 1
    if t.numel() % parts:
        parts = 1
    places = scratch((parts, 1, t.numel() // parts, 2), t, "places")
    places[..., 1].zero_()
    # grid_sample reads and writes out of bounds where a place is NaN. A range with a NaN in it has a table of NaNs, so
    # sending such an entry to the middle loses nothing.
    torch.nan_to_num(t.view(parts, 1, -1), nan=0.0, out=places[..., 0])
    return places


def _image(table: Tensor, places: Tensor) -> Tensor:
    return table.expand(len(places), 1, 1, -1)


def _read(places: Tensor, table: Tensor, like: Tensor) -> Tensor:
    image = _image(table, places)
    return F.grid_sample(image, places, mode="bilinear", padding_mode="border", align_corners=True).view_as(like)


def hermite_cells(values: Tensor, slopes: Tensor) -> Tensor:
    """Cubic cells, ``(cells, 4)`` coefficients of the place in the cell, from values and slopes at the nodes."""
    left, into, out_of = values[:-1], slopes[:-1], slopes[1:]
    rise = values[1:] - left
    return torch.stack([left, into, 3 * rise - 2 * into - out_of, into + out_of - 2 * rise], dim=1)


def refine(cells: Tensor, refinement: int) -> tuple[Tensor, Tensor]:
    """Values, and derivatives in t, at ``refinement`` nodes per cell, and at the last end."""
    u = torch.arange(refinement, dtype=cells.dtype, device=cells.device)[None] / refinement
    c0, c1, c2, c3 = cells.unbind(1)
    values = cells @ torch.cat([u**0, u, u**2, u**3])
    slopes = torch.stack([c1, 2 * c2, 3 * c3], dim=1) @ torch.cat([u**0, u, u**2])
    ends = (c0 + c1 + c2 + c3)[-1:], (c1 + 2 * c2 + 3 * c3)[-1:]
    return torch.cat([values.flatten(), ends[0]]), torch.cat([slopes.flatten(), ends[1]]) * (len(cells) / 2)

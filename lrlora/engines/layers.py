"""What surrogates are fitted for: layers of one adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from lrlora.engines.ranges import Range
from lrlora.engines.sampling import Theta


class Shape(NamedTuple):
    """Of an update: its rows, its columns, and the rank of BA."""

    out: int
    inside: int
    r: int


@dataclass(frozen=True)
class Layers:
    """L layers of one adapter, on one device.

    Attributes:
        theta: The parameters of their functions.
        ranges: Where their entries lie.
        scales: s_out of each.
        shapes: Of their updates.
        dtype: Of the entries.
        gradients: Whether gradients of θ will be wanted.
    """

    theta: Theta
    ranges: Sequence[Range]
    scales: Sequence[float]
    shapes: Sequence[Shape]
    dtype: torch.dtype
    gradients: bool

    def __len__(self) -> int:
        return len(self.ranges)

    def one(self, i: int) -> Layers:
        """Layer i alone."""
        only = slice(i, i + 1)
        theta, shapes = self.theta.of_layers(only), self.shapes[only]
        return Layers(theta, self.ranges[only], self.scales[only], shapes, self.dtype, self.gradients)

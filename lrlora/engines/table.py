"""f as a table: for what no polynomial follows, such as kinks and fast oscillation.

The values of f at evenly spaced points are joined by Catmull-Rom cubics, which are linear in the values: θ meets the
points, as it meets those of a polynomial. The number of cells is the least power of two that brings the cubics within
the tolerance at the midpoints of the cells, where entries lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrlora.engines.entries import Array
from lrlora.engines.polynomial import shares, values_at
from lrlora.transfer import TransferFunction

FEWEST, MOST = 64, 1 << 15
"""Cells of a table."""


@dataclass(frozen=True)
class TableFit:
    """A table over [−ρ, ρ].

    Attributes:
        rho: ρ.
        cells: C; there are C + 3 values, one beyond each end.
        error: Relative error at the midpoints, weighted by where entries lie.
    """

    rho: float
    cells: int
    error: float


def table_points(rho: float, cells: int) -> Array:
    """Returns C + 3 evenly spaced points, of which the second is −ρ and the last but one is ρ."""
    return np.asarray(rho * (2 * np.arange(-1, cells + 2) / cells - 1))


def fit_table(
    transfer: TransferFunction, z: Array, rho: float, tolerance: float, *, start: int = FEWEST
) -> tuple[TableFit, bool]:
    """Returns the smallest table that is good enough and True, or the largest there is and False.

    Args:
        transfer: The function.
        z: A sample of entries, in ascending order.
        rho: ρ.
        tolerance: Relative error allowed in ΔW.
        start: Cells to begin with, a power of two.
    """
    cells = min(max(start, FEWEST), MOST)
    values = values_at(transfer, table_points(rho, cells))[0]
    while True:
        finer = values_at(transfer, table_points(rho, 2 * cells))[0]
        middle = finer[2:-2:2]  # at the midpoints of the cells
        cubic = (9 * (values[1:-2] + values[2:-1]) - (values[:-3] + values[3:])) / 16
        weight = _weights(z, rho, cells)
        whole = float(weight @ middle**2)
        error = float(np.sqrt(weight @ (cubic - middle) ** 2 / whole)) if whole > 0 else 0.0
        if error <= 0.5 * tolerance:
            return TableFit(rho, cells, error), True
        if cells >= MOST or not np.isfinite(error):
            return TableFit(rho, cells, error), False
        cells, values = 2 * cells, finer


def _weights(z: Array, rho: float, cells: int) -> Array:
    count = shares(z, rho * np.linspace(0, 1, cells // 2 + 1))
    # Smoothed over sixteenths of the range: the sample says little of single cells.
    width = max(1, cells // 32)
    smooth = np.convolve(count, np.ones(width) / width, mode="same") + 1e-3 / len(count)
    return np.concatenate([smooth[::-1], smooth])

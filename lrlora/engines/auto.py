"""Picks the evaluation by tolerance and cost: a polynomial wherever one is good enough, else a table."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lrlora.engines.costs import COSTS
from lrlora.engines.fitting import FittingEngine, Shape
from lrlora.engines.monomials import fit_monomials
from lrlora.engines.ranges import Range
from lrlora.engines.rounding import LARGEST_SQUARED_RANK, has_fast_bfloat16
from lrlora.engines.sampling import Theta
from lrlora.engines.series import ORDERS, SeriesFit
from lrlora.engines.surrogate import Surrogate
from lrlora.engines.tabulated import sampled_table


class AutoEngine(FittingEngine):
    """A polynomial where degree 24 or less suffices, through monomials where they are few; else a table.

    It never refuses.
    """

    def fit(
        self,
        theta: Theta,
        ranges: Sequence[Range],
        scales: Sequence[float],
        shapes: Sequence[Shape],
        dtype: torch.dtype,
        gradients: bool,
    ) -> list[Surrogate]:
        """See :meth:`FittingEngine.fit`."""
        fitted = fit_monomials(
            theta, ranges, scales, self.tolerance, dtype, gradients, most_exact=_most_exact(theta, shapes, dtype)
        )
        found: list[Surrogate] = []
        for i, (surrogate, shape) in enumerate(zip(fitted, shapes, strict=True)):
            if surrogate is None:
                found.append(self._table(theta.of_layer(i), ranges[i], scales[i], dtype, gradients))
                continue
            rounded = surrogate.split is not None
            entrywise = COSTS.polynomial(shape.out, shape.inside, surrogate.degree, rounded=rounded)
            surrogate.factored = COSTS.factored(*shape, surrogate.degree) < entrywise
            found.append(surrogate)
        return found

    def _table(self, theta: Theta, range: Range, scale: float, dtype: torch.dtype, gradients: bool) -> Surrogate:
        for orders in (ORDERS, 8 * ORDERS):
            table = SeriesFit(theta, range, scale, self.tolerance, dtype, gradients, orders).table()
            if table is not None:
                return table
        # What a series of a thousand orders does not resolve is sampled ever more finely.
        return sampled_table(theta, range, scale, self.tolerance, dtype, gradients)


def _most_exact(theta: Theta, shapes: Sequence[Shape], dtype: torch.dtype) -> list[int]:
    """How many moments of each layer may be exact beside a rounded product; empty where nothing is to be rounded."""
    if dtype != torch.float32 or not has_fast_bfloat16(theta.amplitude.device.type):
        return []
    return [3 if shape.r <= LARGEST_SQUARED_RANK else 2 for shape in shapes]

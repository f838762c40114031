"""Picks the evaluation by tolerance and cost: a polynomial wherever one is good enough, else a table."""

from __future__ import annotations

import torch

from lrlora.engines.costs import COSTS
from lrlora.engines.fitted_polynomial import fit_polynomials
from lrlora.engines.fitting import FittingEngine
from lrlora.engines.layers import Layers
from lrlora.engines.powers import HIGHEST_DEGREE
from lrlora.engines.rounding import LARGEST_SQUARED_RANK, has_fast_bfloat16
from lrlora.engines.series import ORDERS, SeriesFit
from lrlora.engines.surrogate import Surrogate
from lrlora.engines.tabulated import sampled_table


class AutoEngine(FittingEngine):
    """A polynomial where degree 28 or less suffices, through monomials where they are few; else a table.

    It never refuses.
    """

    def fit(self, layers: Layers) -> list[Surrogate]:
        """See :meth:`FittingEngine.fit`."""
        fitted = fit_polynomials(layers, self.tolerance, most_exact=_most_exact(layers))
        found: list[Surrogate] = []
        for i, (surrogate, shape) in enumerate(zip(fitted, layers.shapes, strict=True)):
            if surrogate is None:
                found.append(self._table(layers.one(i)))
                continue
            rounded = surrogate.split is not None
            entrywise = COSTS.polynomial(shape.out, shape.inside, surrogate.degree, rounded=rounded)
            few = surrogate.degree <= HIGHEST_DEGREE
            surrogate.factored = few and COSTS.factored(*shape, surrogate.degree) < entrywise
            found.append(surrogate)
        return found

    def _table(self, layer: Layers) -> Surrogate:
        for orders in (ORDERS, 8 * ORDERS):
            table = SeriesFit(layer, self.tolerance, orders).table()
            if table is not None:
                return table
        # What a series of a thousand orders does not resolve is sampled ever more finely.
        return sampled_table(layer, self.tolerance)


def _most_exact(layers: Layers) -> list[int]:
    """How many moments of each layer may be exact beside a rounded product; empty where nothing is to be rounded."""
    if layers.dtype != torch.float32 or not has_fast_bfloat16(layers.theta.amplitude.device.type):
        return []
    return [3 if shape.r <= LARGEST_SQUARED_RANK else 2 for shape in layers.shapes]

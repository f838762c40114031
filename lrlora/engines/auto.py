"""Picks the evaluation by the tolerance: a polynomial wherever one is good enough, else a table."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lrlora.engines.fitting import FittingEngine
from lrlora.engines.monomials import fit_monomials
from lrlora.engines.ranges import Range
from lrlora.engines.sampling import Theta
from lrlora.engines.series import ORDERS, SeriesFit
from lrlora.engines.surrogate import Surrogate
from lrlora.engines.tabulated import sampled_table


class AutoEngine(FittingEngine):
    """A polynomial where degree 24 or less suffices, else a table. Never refuses."""

    def fit(
        self, theta: Theta, ranges: Sequence[Range], scales: Sequence[float], dtype: torch.dtype, gradients: bool
    ) -> list[Surrogate]:
        """See :meth:`FittingEngine.fit`."""
        found: list[Surrogate] = []
        for i, fitted in enumerate(
            fit_monomials(theta, ranges, scales, self.tolerance, dtype, gradients, may_round=dtype == torch.float32)
        ):
            found.append(fitted or self._table(theta.of_layer(i), ranges[i], scales[i], dtype, gradients))
        return found

    def _table(self, theta: Theta, range: Range, scale: float, dtype: torch.dtype, gradients: bool) -> Surrogate:
        for orders in (ORDERS, 8 * ORDERS):
            table = SeriesFit(theta, range, scale, self.tolerance, dtype, gradients, orders).table()
            if table is not None:
                return table
        # What a series of a thousand orders does not resolve is sampled ever more finely.
        return sampled_table(theta, range, scale, self.tolerance, dtype, gradients)

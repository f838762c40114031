"""Picks the evaluation by the tolerance: a polynomial wherever one is good enough, else a table."""

from __future__ import annotations

from torch import Tensor

from lrlora.engines.dense import DenseEngine
from lrlora.engines.polynomial import MAX_MONOMIAL_DEGREE, ChebyshevFit
from lrlora.engines.surrogate import Surrogate
from lrlora.engines.tabulated import tabulated_surrogate
from lrlora.transfer import TransferFunction


class AutoEngine(DenseEngine):
    """A polynomial where degree 24 or less suffices, else a table. Never refuses.

    At degree 24 the two cost about the same: a polynomial pays per degree, a table a fixed price.
    """

    def surrogate(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Surrogate:
        """See :meth:`DenseEngine.surrogate`. Decided at every call, as the range of BA moves in training."""
        fit = ChebyshevFit(A, B, transfer, self.tolerance)
        surrogate = fit.polynomial(MAX_MONOMIAL_DEGREE) or fit.table()
        # What a series of 128 orders does not resolve is sampled ever more finely.
        return surrogate or tabulated_surrogate(transfer, *fit.range, self.tolerance)

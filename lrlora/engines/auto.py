"""Picks the engine by the tolerance: a polynomial wherever one is good enough, else a table."""

from __future__ import annotations

from torch import Tensor

from lrlora.engines.dense import DenseEngine
from lrlora.engines.polynomial import MAX_MONOMIAL_DEGREE, polynomial_surrogate
from lrlora.engines.surrogate import Surrogate, range_of
from lrlora.engines.tabulated import tabulated_surrogate
from lrlora.transfer import TransferFunction


class AutoEngine(DenseEngine):
    """A polynomial where degree 24 or less suffices, else a table. Never refuses.

    At degree 24 the two cost about the same: a polynomial pays per degree, a table a fixed price.
    """

    def surrogate(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Surrogate:
        """See :meth:`DenseEngine.surrogate`. Decided at every call, as the range of BA moves in training."""
        rho, rms = range_of(A, B, transfer)
        polynomial = polynomial_surrogate(transfer, rho, rms, self.tolerance, A.dtype, MAX_MONOMIAL_DEGREE)
        return polynomial if polynomial is not None else tabulated_surrogate(transfer, rho, rms, self.tolerance)

"""The engine that evaluates f as a polynomial and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lrlora.engines.engine import EngineError
from lrlora.engines.fitting import FittingEngine, Shape
from lrlora.engines.monomials import fit_monomials
from lrlora.engines.ranges import Range
from lrlora.engines.sampling import Theta
from lrlora.engines.series import MAX_DEGREE, SeriesFit
from lrlora.engines.surrogate import Surrogate


class PolynomialEngine(FittingEngine):
    """Evaluates f as a polynomial, of the lowest degree that meets the tolerance: no gather, no scatter, whatever N."""

    def fit(
        self,
        theta: Theta,
        ranges: Sequence[Range],
        scales: Sequence[float],
        shapes: Sequence[Shape],
        dtype: torch.dtype,
        gradients: bool,
    ) -> list[Surrogate]:
        """See :meth:`FittingEngine.fit`.

        Raises:
            EngineError: More than degree 64 would be needed.
        """
        found: list[Surrogate] = []
        fitted = fit_monomials(theta, ranges, scales, self.tolerance, dtype, gradients)
        for i, surrogate in enumerate(fitted):
            found.append(surrogate or self._by_recurrence(theta.of_layer(i), ranges[i], scales[i], dtype, gradients))
        return found

    def _by_recurrence(
        self, theta: Theta, range: Range, scale: float, dtype: torch.dtype, gradients: bool
    ) -> Surrogate:
        surrogate = SeriesFit(theta, range, scale, self.tolerance, dtype, gradients).polynomial()
        if surrogate is None:
            raise EngineError(
                f"no polynomial of degree {MAX_DEGREE} or less follows this φ to {self.tolerance:g} in {dtype} "
                f"on the range |z| ≤ {range.rho:.3g}: use engine='tabulated', or 'auto', which picks by tolerance"
            )
        return surrogate

"""The engine that evaluates f as a polynomial and nothing else."""

from __future__ import annotations

from lrlora.engines.engine import EngineError
from lrlora.engines.fitted_polynomial import fit_polynomials
from lrlora.engines.fitting import FittingEngine
from lrlora.engines.layers import Layers
from lrlora.engines.series import MAX_DEGREE, SeriesFit
from lrlora.engines.surrogate import Surrogate


class PolynomialEngine(FittingEngine):
    """Evaluates f as a polynomial, of the lowest degree that meets the tolerance: no gather, no scatter, whatever N."""

    def fit(self, layers: Layers) -> list[Surrogate]:
        """See :meth:`FittingEngine.fit`.

        Raises:
            EngineError: More than degree 64 would be needed.
        """
        found: list[Surrogate] = []
        for i, surrogate in enumerate(fit_polynomials(layers, self.tolerance)):
            found.append(surrogate or self._by_recurrence(layers.one(i)))
        return found

    def _by_recurrence(self, layer: Layers) -> Surrogate:
        surrogate = SeriesFit(layer, self.tolerance).polynomial()
        if surrogate is None:
            reach = layer.ranges[0].rho
            raise EngineError(
                f"no polynomial of degree {MAX_DEGREE} or less follows this φ to {self.tolerance:g} in {layer.dtype} "
                f"on the range |z| ≤ {reach:.3g}: use engine='tabulated', or 'auto', which picks by tolerance"
            )
        return surrogate

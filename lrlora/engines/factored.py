"""The engine without any m × n tensor: for small ranks and ranges, where few monomials of A and B say all.

Its speed is that of a LoRA layer whose rank is the number of monomials, C(r + d, d) − 1.
"""

from __future__ import annotations

from lrlora.engines.engine import EngineError
from lrlora.engines.fitted_polynomial import fit_polynomials
from lrlora.engines.fitting import FittingEngine
from lrlora.engines.layers import Layers
from lrlora.engines.powers import HIGHEST_DEGREE, monomial_count
from lrlora.engines.surrogate import Surrogate

DEGREES = tuple(range(1, HIGHEST_DEGREE + 1))
MOST_MONOMIALS = 1024


class FactoredEngine(FittingEngine):
    """Evaluates f as a polynomial, through the monomials of A and B that it factors over."""

    def fit(self, layers: Layers) -> list[Surrogate]:
        """See :meth:`FittingEngine.fit`.

        Raises:
            EngineError: More than degree 8, or more than 1,024 monomials, would be needed.
        """
        found: list[Surrogate] = []
        fitted = fit_polynomials(layers, self.tolerance, degrees=DEGREES)
        for surrogate, where, shape in zip(fitted, layers.ranges, layers.shapes, strict=True):
            if surrogate is None:
                raise EngineError(
                    f"no polynomial of degree {DEGREES[-1]} or less follows this φ to {self.tolerance:g} in "
                    f"{layers.dtype} on the range |z| ≤ {where.rho:.3g}: use engine='polynomial', or 'auto', "
                    "which picks by tolerance"
                )
            count = monomial_count(shape.r, surrogate.degree)
            if count > MOST_MONOMIALS:
                raise EngineError(
                    f"degree {surrogate.degree} at r = {shape.r} takes {count:,} monomials, more than "
                    f"{MOST_MONOMIALS:,}: use engine='polynomial', or 'auto', which picks by cost"
                )
            surrogate.factored = True
            found.append(surrogate)
        return found

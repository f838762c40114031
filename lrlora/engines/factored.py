"""The engine without any m × n tensor: for small ranks and ranges, where few monomials of A and B say all.

Its speed is that of a LoRA layer whose rank is the number of monomials, C(r + d, d) − 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lrlora.engines.engine import EngineError
from lrlora.engines.fitting import FittingEngine, Shape
from lrlora.engines.monomials import fit_monomials
from lrlora.engines.powers import monomial_count
from lrlora.engines.ranges import Range
from lrlora.engines.sampling import Theta
from lrlora.engines.surrogate import Surrogate

DEGREES = tuple(range(1, 9))
MOST_MONOMIALS = 1024


class FactoredEngine(FittingEngine):
    """Evaluates f as a polynomial, through the monomials of A and B that it factors over."""

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
            EngineError: More than degree 8, or more than 1,024 monomials, would be needed.
        """
        found: list[Surrogate] = []
        fitted = fit_monomials(theta, ranges, scales, self.tolerance, dtype, gradients, degrees=DEGREES)
        for surrogate, where, shape in zip(fitted, ranges, shapes, strict=True):
            if surrogate is None:
                raise EngineError(
                    f"no polynomial of degree {DEGREES[-1]} or less follows this φ to {self.tolerance:g} in {dtype} on "
                    f"the range |z| ≤ {where.rho:.3g}: use engine='polynomial', or 'auto', which picks by tolerance"
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

"""What an evaluation costs, for ``auto`` to choose by.

The constants are measured and then fixed, and not measured anew in every process: a choice that hung on a stopwatch
would make the same run give other digits. They are times of one machine, and only their proportions matter;
``lrlora bench costs`` measures them on yours.
"""

from __future__ import annotations

from dataclasses import dataclass

from lrlora.engines.powers import monomial_count

TOKENS = 512
"""Tokens of the step that evaluations are compared at: as many more cost both in proportion."""


@dataclass(frozen=True)
class Costs:
    """Nanoseconds, on two cores with AVX-512, float32.

    Attributes:
        product: Of a large product, per floating-point operation.
        rounded_product: The same in bfloat16.
        forward, backward: Per entry, of the passes of a polynomial, whatever its degree.
        per_degree: Per entry and degree, of both passes.
        thin: Per entry, of the products of A and B with the entries, there and back.
        monomial: Per monomial and row or column, of making it and pulling back through it.
        call: Fixed, of an evaluation through monomials.
    """

    product: float = 1 / 170
    rounded_product: float = 1 / 390
    forward: float = 0.15
    backward: float = 0.25
    per_degree: float = 0.06
    thin: float = 0.8
    monomial: float = 0.9
    call: float = 150_000.0

    def polynomial(self, out: int, inside: int, degree: int, *, rounded: bool) -> float:
        """Of a training step, what it takes on top of the frozen layer: entry by entry."""
        product = self.rounded_product if rounded else self.product
        passes = self.forward + self.backward + self.per_degree * degree + self.thin
        return out * inside * (2 * TOKENS * product + passes)

    def factored(self, out: int, inside: int, r: int, degree: int) -> float:
        """The same through monomials: products as thin as their number, which run below the full rate."""
        count = monomial_count(r, degree) + 1
        products = 2 * TOKENS * (count + 6) * (4 * inside + 3 * out) * self.product
        return products + self.monomial * count * (out + inside) + self.call


COSTS = Costs()

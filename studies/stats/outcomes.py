"""The outcome of a claim, from the interval of its difference.

A claim among m of one family is tested at the level α/m. Whatever is said of it follows from one interval, or from one
of its ends, so that the probability to say anything false of it is at most α/m, and of any claim at most α:

- an end beyond 0: the difference has the sign that is claimed (*supported*) or the other one (*contradicted*);
- both ends within ± the smallest effect of interest: *no effect of that size*;
- the published effect beyond the end: *smaller than published*.

A statement of one direction is made from a one-sided bound. If the difference is at a margin, or at the published
effect, the others that would be false there imply the one that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lrlora.studies.stats.uncertainty import Uncertainty, smallest_level

Outcome = Literal[
    "supported", "contradicted", "no effect of that size", "smaller than published", "undecided", "not tested"
]
"""What the runs say of a claim; it is not tested if nothing was recorded for it."""

OUTCOMES: tuple[Outcome, ...] = (
    "supported",
    "contradicted",
    "no effect of that size",
    "smaller than published",
    "undecided",
)
"""The outcomes of a test; every one but the last settles a claim."""


def in_words(outcome: Outcome, remarks: tuple[str, ...]) -> str:
    """Returns an outcome with what holds besides.

    >>> in_words("supported", ("smaller than published",))
    'supported, but smaller than published'
    """
    return f"{outcome}, but {' and '.join(remarks)}" if remarks else outcome


@dataclass(frozen=True)
class Question:
    """What is asked of a mean difference δ, whose claimed sign is positive.

    Attributes:
        kind: ``sign``: δ > 0. ``within``: |δ| < margin. ``below``: δ < margin.
        margin: Of the last two kinds.
        smallest: Smallest effect of interest; None if none is known.
        published: The published δ; None without one.
    """

    kind: Literal["sign", "within", "below"]
    margin: float | None = None
    smallest: float | None = None
    published: float | None = None

    def holds(self, mean: float, uncertainty: Uncertainty, alpha: float) -> dict[Outcome, bool]:
        """Returns which outcomes hold at level ``alpha``; several may."""
        low, high = uncertainty.interval(mean, alpha)
        if self.kind != "sign":
            assert self.margin is not None
            inside = high < self.margin and (self.kind == "below" or low > -self.margin)
            outside = low > self.margin or (self.kind == "within" and high < -self.margin)
            return {"supported": inside, "contradicted": outside}
        # From one-sided bounds: their error is alpha, where that of one end of the interval is half of it.
        lower, upper = uncertainty.interval(mean, min(1.0, 2 * alpha))
        published = self.published if self.published is not None and self.published > 0 else None
        return {
            "supported": low > 0,
            "contradicted": high < 0,
            "no effect of that size": self.smallest is not None and -self.smallest < lower and upper < self.smallest,
            "smaller than published": published is not None and upper < published,
        }

    def outcome(self, mean: float, uncertainty: Uncertainty, alpha: float) -> tuple[Outcome, tuple[str, ...]]:
        """Returns the first outcome that holds, and what else does, as remarks."""
        holds = self.holds(mean, uncertainty, alpha)
        found: Outcome = next((outcome for outcome in OUTCOMES if holds.get(outcome)), "undecided")
        remarks = []
        if found == "supported" and holds.get("no effect of that size"):
            remarks.append("below the smallest effect of interest")
        if found in ("supported", "no effect of that size") and holds.get("smaller than published"):
            remarks.append("smaller than published")
        return found, tuple(remarks)

    def p(self, mean: float, uncertainty: Uncertainty, outcome: Outcome) -> float:
        """Returns the smallest level at which an outcome holds; of *undecided* that at which any does."""
        wanted = OUTCOMES[:-1] if outcome == "undecided" else (outcome,)
        return smallest_level(lambda alpha: any(map(self.holds(mean, uncertainty, alpha).get, wanted)))

"""How likely more seeds settle a claim, given those that there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lrlora.studies.stats.outcomes import Question
from lrlora.studies.stats.runs import Unit
from lrlora.studies.stats.uncertainty import Counts, Exact, Uncertainty, Variances

_DRAWS = 200


@dataclass(frozen=True)
class Seen:
    """What a number of seeds showed of a claim.

    Attributes:
        question: What is asked.
        mean: The mean difference, turned to the claimed sign.
        uncertainty: Of it.
        n: Number of repetitions.
        unit: What these are.
        seeds: Number of seeds.
    """

    question: Question
    mean: float
    uncertainty: Uncertainty
    n: int
    unit: Unit
    seeds: int

    def chance(self, seeds: int, alpha: float) -> float | None:
        """Returns the probability that the claim is settled at level ``alpha`` after ``seeds`` seeds.

        It is the share of draws from the predictive distribution of further seeds, with a flat prior of the mean and of
        the logarithm of the spread. None with one repetition, which shows no spread.
        """
        settled = [
            any(self.question.holds(mean, uncertainty, alpha).values()) for mean, uncertainty in self._drawn(seeds)
        ]
        return sum(settled) / len(settled) if settled else None

    def _drawn(self, seeds: int) -> Iterator[tuple[float, Uncertainty]]:
        """Yields means with their uncertainties as they may be after ``seeds`` seeds."""
        random = np.random.default_rng(0)  # the same draws each time: what follows depends on the results alone
        uncertainty = self.uncertainty
        if isinstance(uncertainty, Exact):
            yield self.mean, uncertainty
        elif isinstance(uncertainty, Counts):
            yield from _of_counts(uncertainty, seeds - self.seeds, random)
        elif isinstance(uncertainty, Variances) and self.n > 1:
            if self.unit == "task":
                yield from self._of_tasks(uncertainty, self.seeds / seeds, random)
            else:
                yield from self._of_seeds(uncertainty, seeds - self.seeds, random)

    def _of_tasks(
        self, uncertainty: Variances, share: float, random: np.random.Generator
    ) -> Iterator[tuple[float, Variances]]:
        """As if tasks differed by the noise of seeds alone, so that the chance is not too low."""
        (variance, df), *others = uncertainty.parts
        for deviate in random.standard_normal(_DRAWS).tolist():
            yield self.mean + deviate * (variance * (1 - share)) ** 0.5, Variances(((variance * share, df), *others))

    def _of_seeds(
        self, uncertainty: Variances, more: int, random: np.random.Generator
    ) -> Iterator[tuple[float, Variances]]:
        """What the sampling of examples adds stays as it is, since the examples do."""
        (variance, df), *of_examples = uncertainty.parts
        n, whole = self.n, self.n + more
        squares = variance * n * df
        spreads = np.sqrt(squares / random.chisquare(df, _DRAWS))
        centres = self.mean + spreads / np.sqrt(n) * random.standard_normal(_DRAWS)
        means = centres + spreads / np.sqrt(more) * random.standard_normal(_DRAWS)
        of_more = spreads**2 * random.chisquare(more - 1, _DRAWS) if more > 1 else np.zeros(_DRAWS)
        later = (n * self.mean + more * means) / whole
        variances = (squares + of_more + n * more / whole * (means - self.mean) ** 2) / (whole - 1) / whole
        for mean, of_seeds in zip(later.tolist(), variances.tolist(), strict=True):
            yield mean, Variances(((of_seeds, whole - 1), *of_examples))


def _of_counts(counts: Counts, more: int, random: np.random.Generator) -> Iterator[tuple[float, Counts]]:
    """With Jeffreys' prior for the shares."""
    seen = np.array([counts.more, counts.less, counts.n - counts.more - counts.less])
    n = counts.n + more
    for shares in random.dirichlet(seen + 0.5, _DRAWS):
        up, down, _ = (seen + random.multinomial(more, shares)).tolist()
        yield (up - down) / n, Counts(n, up, down)

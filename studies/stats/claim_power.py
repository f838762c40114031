"""What each claim of a study needs to be settled with 80 % power, from the runs of a pilot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from lrlora.studies.spec.claims import Claim
from lrlora.studies.stats.crossed import Array
from lrlora.studies.stats.paired import ALPHA, POWER
from lrlora.studies.stats.power import UPPER, Aim, Layout, Spread, aims_of, examples_needed, seeds_needed, spread_of
from lrlora.studies.stats.runs import with_places
from lrlora.studies.stats.uncertainty import Exact
from lrlora.studies.stats.verdicts import ClaimVerdict, decide, observe, question_of


@dataclass(frozen=True)
class Need:
    """What it takes to reach an aim with 80 % power.

    Attributes:
        aim: The aim.
        power: The power with the seeds that were run.
        seeds: Number of seeds (or tasks, where these are the repetitions); None if there is none.
        upper: That number if the spread is as large as its upper bound; None likewise.
        examples_needed: If the test examples limit it, how many are needed at least, with an unlimited number of seeds.
    """

    aim: Aim
    power: float
    seeds: int | None
    upper: int | None
    examples_needed: int | None = None


@dataclass(frozen=True)
class ClaimPower:
    """A claim, its spread, and what it needs.

    Attributes:
        verdict: What the runs say of it now.
        spread: As estimated; None if the runs do not tell it, or if the claim needs none.
        upper: With the upper bounds of its variances.
        needs: For each aim; empty without a spread.
        note: Why there is none.
    """

    verdict: ClaimVerdict
    spread: Spread | None = None
    upper: Spread | None = None
    needs: tuple[Need, ...] = ()
    note: str = ""

    def with_examples(self, examples: int) -> tuple[Need, ...]:
        """Returns what the claim needs with another number of test examples; nothing if its interval has none."""
        if not isinstance(self.spread, Layout) or not isinstance(self.upper, Layout) or self.spread.examples == 1:
            return ()
        here, upper = (replace(one, examples=examples) for one in (self.spread, self.upper))
        assert self.verdict.found is not None
        return _needs(self.verdict, here, upper, self.verdict.found.n)


def needs_of_claims(
    claims: Sequence[Claim], runs: pd.DataFrame, reference: str | None, metric: str, alpha: float = ALPHA
) -> list[ClaimPower]:
    """Returns what each claim of a study needs to be settled with 80 % power, from the runs of a pilot.

    Args:
        claims: As declared.
        runs: See :mod:`lrlora.studies.stats.runs`; of at least two seeds.
        reference: The partner of claims that name none.
        metric: Column of the study's metric.
        alpha: Of the family, as in :func:`lrlora.studies.stats.verdicts.examine`.
    """
    runs = with_places(runs)
    observed = [observe(one, runs, reference, one.metric or metric, alpha, len(claims)) for one in claims]
    return [_of_claim(decide(*found, alpha, len(claims)), found[1]) for found in observed]


def _of_claim(verdict: ClaimVerdict, differences: Array | None) -> ClaimPower:
    found, aims = verdict.found, aims_of(question_of(verdict))
    if differences is None or found is None:
        return ClaimPower(verdict, note=verdict.note or "nothing was recorded for it")
    if isinstance(found.uncertainty, Exact):
        return ClaimPower(verdict, note="it follows from the settings: one seed is enough")
    if not aims:
        return ClaimPower(verdict, note=f"no smallest effect of interest is known for {verdict.metric}")
    if found.n < 2:
        return ClaimPower(verdict, note=f"one {verdict.unit} does not tell the spread: two are needed")
    size = verdict.claim.margin or verdict.smallest
    assert size is not None
    spread, upper = (spread_of(differences, verdict.metric, size, bound) for bound in (None, UPPER))
    return ClaimPower(verdict, spread, upper, _needs(verdict, spread, upper, found.n))


def _needs(verdict: ClaimVerdict, spread: Spread, upper: Spread, seeds: int) -> tuple[Need, ...]:
    needs = []
    for aim in aims_of(question_of(verdict)):
        limited = isinstance(spread, Layout) and spread.power(aim, math.inf, verdict.level) < POWER
        needs.append(
            Need(
                aim,
                spread.power(aim, seeds, verdict.level),
                None if limited else seeds_needed(spread, aim, verdict.level),
                None if limited else seeds_needed(upper, aim, verdict.level),
                examples_needed(spread, aim, verdict.level) if limited and isinstance(spread, Layout) else None,
            )
        )
    return tuple(needs)

"""Verdicts of a study that goes on until its claims are decided: seeds are added and the results are looked at again.

Who looks again and again, and stops at the first result, errs more often than once in twenty. So a claim is looked at
after certain numbers of seeds only, each time at a share of its level (:data:`LOOKS`), such that its intervals of all
looks hold together with the confidence of one look at the whole level. A verdict is that of the first look that
settles the claim. It follows from the first n seeds of the study: it depends neither on the order in which runs ended
nor on who looked when. That holds for any interval and any reason to stop, since the shares of all looks add up to 1.

A claim that could hardly be settled with all seeds (:data:`HARDLY`) is not followed any more. It is undecided then, so
that this adds no false verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import pandas as pd

from lrlora.studies.spec.claims import Claim
from lrlora.studies.stats.paired import ALPHA
from lrlora.studies.stats.projection import Seen
from lrlora.studies.stats.runs import with_places
from lrlora.studies.stats.verdicts import ClaimVerdict, examine_one, tested_by

LOOKS: Mapping[int, float] = dict.fromkeys((3, 4, 5, 6, 8, 10, 13, 16, 20), 1 / 9)
"""The share of a claim's level by the number of seeds after which it is looked at; together 1 (Bonferroni).

Chosen by simulation, see docs/statistics.md: equal shares need fewer seeds than shares that grow with the number of
seeds, and nine looks fewer than one after each seed.
"""

MOST_SEEDS = max(LOOKS)

HARDLY = 0.1
"""The chance to be settled with all seeds below which a claim is not followed any more."""

State = Literal["settled", "futile", "open", "undecided"]
"""Of a claim: *futile* could hardly be settled, *undecided* is not settled by all seeds."""


@dataclass(frozen=True)
class Look:
    """A look at a claim.

    Attributes:
        seeds: After how many seeds.
        verdict: What it showed; its level is that of this look.
    """

    seeds: int
    verdict: ClaimVerdict

    @property
    def interval(self) -> tuple[float, float] | None:
        """The two-sided interval of the difference at the level of the look; None where there is none."""
        return None if self.verdict.found is None else self.verdict.found.interval(self.verdict.level)


@dataclass(frozen=True)
class ClaimPath:
    """The looks at a claim until it was settled, or until now.

    Attributes:
        claim: As declared.
        looks: In the order of seeds; the last one settles the claim, or none does.
        level: Of all looks together.
        most_seeds: How many seeds there will be.
    """

    claim: Claim
    looks: tuple[Look, ...]
    level: float
    most_seeds: int = MOST_SEEDS

    @property
    def settled_after(self) -> int | None:
        """The number of seeds that settled the claim; None if it is not settled."""
        return self.looks[-1].seeds if self.looks and self.looks[-1].verdict.settled else None

    @property
    def to_come(self) -> tuple[int, ...]:
        """The numbers of seeds at which the claim would be looked at next."""
        seen = self.looks[-1].seeds if self.looks else 0
        return tuple(seeds for seeds in LOOKS if seen < seeds <= self.most_seeds)

    @cached_property
    def state(self) -> State:
        """Whether the claim is settled, and if not, whether more seeds may settle it."""
        if self.settled_after is not None:
            return "settled"
        if not self.to_come:
            return "undecided"
        chance = self.chance(self.to_come[-1])
        return "futile" if chance is not None and chance < HARDLY else "open"

    def chance(self, seeds: int) -> float | None:
        """Returns the probability that a look after so many seeds would settle the claim; None if nothing is known.

        Args:
            seeds: A number of :attr:`to_come`.
        """
        verdict = self.looks[-1].verdict if self.looks else None
        tested = None if verdict is None else tested_by(verdict)
        if verdict is None or verdict.found is None or tested is None:
            return None
        seen = Seen(*tested, n=verdict.found.n, unit=verdict.unit, seeds=self.looks[-1].seeds)
        return seen.chance(seeds, LOOKS[seeds] * self.level)


def follow(
    claims: Sequence[Claim],
    runs: pd.DataFrame,
    seeds: Sequence[int],
    reference: str | None,
    metric: str,
    variants: Sequence[str],
    places: int = 1,
    most_seeds: int = MOST_SEEDS,
    alpha: float = ALPHA,
) -> list[ClaimPath]:
    """Returns what was seen of each claim: the probability that any verdict is false is at most ``alpha``.

    Args:
        claims: As declared. They are one family, and each has an equal share of ``alpha``.
        runs: See :mod:`lrlora.studies.stats.runs`, with a row for every run that has ended, however it did.
        seeds: Of the study, in the order in which they are added.
        reference: The partner of claims that name none.
        metric: Column of the study's metric.
        variants: All variants of the study.
        places: The number of combinations of task and backbone: a seed of a variant has as many runs.
        most_seeds: How many seeds there will be.
        alpha: Of the family.
    """
    runs = with_places(runs)
    runs = runs.assign(seed=runs["seed"].astype(str))
    ended = runs.groupby(["variant", "seed"]).size()
    ended = {cell for cell, count in ended.items() if count >= places}
    paths = []
    for claim in claims:
        involved = claim.variants(variants, reference)
        looks: list[Look] = []
        for after in LOOKS:
            first = [str(seed) for seed in seeds[:after]]
            whole = len(first) == after and all((name, seed) in ended for name in involved for seed in first)
            if after > most_seeds or not involved or not whole:
                break
            verdict = _examine(claim, runs[runs["seed"].isin(first)], reference, metric, alpha, len(claims), after)
            looks.append(Look(after, verdict))
            if verdict.settled:
                break
        paths.append(ClaimPath(claim, tuple(looks), alpha / len(claims), most_seeds))
    return paths


def verdict_of(path: ClaimPath, metric: str) -> ClaimVerdict:
    """Returns the verdict of the last look at a claim; *not tested* before the first.

    Args:
        path: Of the claim.
        metric: Of the study.
    """
    if path.looks:
        return path.looks[-1].verdict
    note = f"it is looked at after {min(LOOKS)} seeds first"
    return ClaimVerdict(path.claim, path.claim.metric or metric, "seed", (), level=path.level, note=note)


def _examine(
    claim: Claim, runs: pd.DataFrame, reference: str | None, metric: str, alpha: float, family: int, after: int
) -> ClaimVerdict:
    share = LOOKS[after]
    verdict = examine_one(claim, runs, reference, metric, alpha * share, family)
    return verdict if verdict.p is None else replace(verdict, p=min(1.0, verdict.p / share))

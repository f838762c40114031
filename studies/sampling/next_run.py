"""The run that helps the open claims most for its cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from lrlora.studies.stats.sequential import ClaimPath

Run = tuple[str, int]
"""A variant at a seed."""

UNKNOWN_CHANCE = 0.5
"""The chance of a look to settle its claim before there was one."""


def next_run(
    paths: Sequence[ClaimPath],
    variants: Sequence[str],
    reference: str | None,
    seeds: Sequence[int],
    ended: Collection[Run],
    busy: Collection[Run] = (),
    cost: Callable[[str], float] = lambda _: 1.0,
) -> Run | None:
    """Returns the run to begin next; None if no open claim needs another.

    Each open claim has a next look with the best ratio of the chance to settle the claim to the cost of the runs that
    the look still needs. A run is worth the sum of these ratios over the claims whose look needs it. Of runs with the
    same worth the first is taken, by seed and then by variant.

    Args:
        paths: Of all claims.
        variants: All variants of the study.
        reference: The partner of claims that name none.
        seeds: In the order in which they are added.
        ended: Runs that have ended.
        busy: Runs that have been begun and have not ended.
        cost: Of a run of a variant, such as seconds.
    """
    worth: dict[Run, float] = {}
    for path in paths:
        rate, needed = _best_look(path, variants, reference, seeds, {*ended, *busy}, cost)
        for run in needed:
            worth[run] = worth.get(run, 0.0) + rate
    order = [(name, seed) for seed in seeds for name in variants]
    return max((run for run in order if run in worth), key=lambda run: worth[run], default=None)


def runs_to_go(
    paths: Sequence[ClaimPath],
    variants: Sequence[str],
    reference: str | None,
    seeds: Sequence[int],
    ended: Collection[Run],
    look: int = 0,
) -> list[Run]:
    """Returns the runs that the open claims still need, each once, by seed and then by variant.

    Args:
        paths: Of all claims.
        variants: All variants of the study.
        reference: The partner of claims that name none.
        seeds: In the order in which they are added.
        ended: Runs that have ended.
        look: Which look to come: 0 is the next, and −1 the last.
    """
    needed = {
        run
        for path in paths
        if path.state == "open"
        for run in _needed(path, variants, reference, seeds, path.to_come[look], ended)
    }
    return [(name, seed) for seed in seeds for name in variants if (name, seed) in needed]


def _best_look(
    path: ClaimPath,
    variants: Sequence[str],
    reference: str | None,
    seeds: Sequence[int],
    known: Collection[Run],
    cost: Callable[[str], float],
) -> tuple[float, list[Run]]:
    best: tuple[float, list[Run]] = 0.0, []
    if path.state != "open":
        return best
    for after in path.to_come:
        needed = _needed(path, variants, reference, seeds, after, known)
        if not needed:  # what it needs is under way
            continue
        chance = path.chance(after)
        if chance is None:
            return UNKNOWN_CHANCE / sum(cost(name) for name, _ in needed), needed
        rate = chance / sum(cost(name) for name, _ in needed)
        if rate > best[0] or not best[1]:
            best = rate, needed
    return best


def _needed(
    path: ClaimPath,
    variants: Sequence[str],
    reference: str | None,
    seeds: Sequence[int],
    after: int,
    known: Collection[Run],
) -> list[Run]:
    involved = path.claim.variants(variants, reference)
    first = [(name, seed) for seed in seeds[:after] for name in variants if name in involved]
    return [run for run in first if run not in known]

"""Timing two things in turns: on a shared machine only neighbours can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

Step = Callable[[], object]
Clock = Callable[[], float]

FEWEST_PAIRS = 3
"""Counted even where one pair takes all the time there is: two numbers have no middle."""

WINDOW = 3
MOST_WINDOWS = 8
STEADY = 0.1
"""Warming up ends when the medians of two windows of so many steps are within this fraction of each other."""


@dataclass(frozen=True)
class WarmUp:
    """What happened before counting began.

    Attributes:
        steps: Steps of each.
        seconds: Of both together.
        first_ms: Our first step, in which engines compile their kernels.
        steady: Whether the last two windows agreed; None where the number of steps was given.
    """

    steps: int
    seconds: float
    first_ms: float | None
    steady: bool | None


@dataclass(frozen=True)
class Comparison:
    """Neighbouring steps of ours and theirs.

    Attributes:
        ratio: Median over pairs of our time over theirs.
        quartiles: Lower and upper quartile of the same.
        pairs: Their number.
        ours_ms, lora_ms: Median times.
    """

    ratio: float
    quartiles: tuple[float, float]
    pairs: int
    ours_ms: float
    lora_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def warm_up(
    ours: Step, theirs: Step, steps: int | None = None, seconds: float = 60.0, clock: Clock = time.perf_counter
) -> WarmUp:
    """Make steps of both until they take as long as they will.

    Args:
        ours: Our step.
        theirs: The step it is compared with.
        steps: Of each; None until two windows agree.
        seconds: After so long no further window is begun.
        clock: Seconds.
    """
    started = clock()
    if steps is not None:
        pairs = interleave(ours, theirs, steps, float("inf"), clock)
        return WarmUp(steps, clock() - started, 1e3 * pairs[0][0] if pairs else None, None)
    first = interleave(ours, theirs, 1, seconds, clock)[0][0]
    before: tuple[float, float] | None = None
    steady = False
    windows = 0
    while not steady and windows < MOST_WINDOWS and (windows == 0 or clock() - started < seconds):
        pairs = interleave(ours, theirs, WINDOW, float("inf"), clock)
        now = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
        steady = before is not None and all(
            abs(new - old) <= STEADY * max(new, old) for new, old in zip(now, before, strict=True)
        )
        before = now
        windows += 1
    return WarmUp(1 + windows * WINDOW, clock() - started, 1e3 * first, steady)


def interleave(
    ours: Step, theirs: Step, steps: int, seconds: float, clock: Clock = time.perf_counter
) -> list[tuple[float, float]]:
    """The seconds of steps made in turns: ours, theirs, theirs, ours, ours, …

    Who goes first alternates, so that nothing which one leaves behind in caches favours the other every time.

    Args:
        ours: Our step.
        theirs: The step it is compared with.
        steps: Pairs, at most.
        seconds: After so long no further pair is begun, once there are ``FEWEST_PAIRS``.
        clock: Seconds.
    """
    started = clock()
    pairs: list[tuple[float, float]] = []
    while len(pairs) < steps and (len(pairs) < FEWEST_PAIRS or clock() - started < seconds):
        if len(pairs) % 2 == 0:
            our_time, their_time = _seconds(ours, clock), _seconds(theirs, clock)
        else:
            their_time, our_time = _seconds(theirs, clock), _seconds(ours, clock)
        pairs.append((our_time, their_time))
    return pairs


def summarise(pairs: list[tuple[float, float]]) -> Comparison:
    """Medians and quartiles of pairs of seconds.

    >>> summarise([(2.0, 1.0), (3.0, 1.0), (4.0, 1.0)]).quartiles
    (2.5, 3.5)
    """
    ratios = [ours / theirs for ours, theirs in pairs]
    # The inclusive method, which never leaves the range of what was seen.
    low, middle, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Comparison(
        ratio=middle,
        quartiles=(low, high),
        pairs=len(pairs),
        ours_ms=1e3 * median(ours for ours, _ in pairs),
        lora_ms=1e3 * median(theirs for _, theirs in pairs),
    )


def _seconds(step: Step, clock: Clock) -> float:
    started = clock()
    step()
    return clock() - started

"""Interleaved times and the medians of their paired ratios: on a shared machine only neighbours can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

Step = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """One method's times over the reference's.

    Attributes:
        ratio: Median over rounds of its time over the reference's in the same round.
        quartiles: Lower and upper quartile of these ratios.
        low, high: The smallest and the largest of them.
        seconds: Its median time.
        reference_seconds: The reference's.
        rounds: How many pairs there are.
    """

    ratio: float
    quartiles: tuple[float, float]
    low: float
    high: float
    seconds: float
    reference_seconds: float
    rounds: int

    @classmethod
    def of(cls, times: Sequence[float], reference: Sequence[float]) -> Ratio:
        """The ratio of two lists of seconds, one entry per round.

        >>> Ratio.of([2.0, 6.0, 4.0], [1.0, 3.0, 1.0]).ratio
        2.0
        """
        ratios = [mine / its for mine, its in zip(times, reference, strict=True)]
        # The inclusive method stays within the range of what was measured.
        first, _, third = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        return cls(
            ratio=median(ratios),
            quartiles=(first, third),
            low=min(ratios),
            high=max(ratios),
            seconds=median(times),
            reference_seconds=median(reference),
            rounds=len(ratios),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data."""
        return asdict(self)


def interleave(
    steps: Mapping[str, Step],
    rounds: int,
    before: Callable[[int, str], None] = lambda number, name: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Runs every step once per round and returns the seconds that each took.

    The order rotates by one place from round to round, so that what one step leaves in the caches is not met by the
    same step each time.

    Args:
        steps: By name.
        rounds: How often each is run.
        before: Called with the number of the round and the name before each run, outside of what is timed.
        clock: Returns seconds.
    """
    names = list(steps)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        place = number % len(names)
        for name in names[place:] + names[:place]:
            before(number, name)
            started = clock()
            steps[name]()
            times[name].append(clock() - started)
    return times


def ratios_to(reference: str, times: Mapping[str, Sequence[float]]) -> dict[str, Ratio]:
    """Returns the ratio of every entry of ``times`` to that called ``reference``, itself included."""
    return {name: Ratio.of(seconds, times[reference]) for name, seconds in times.items()}

"""Whose turn it is, when counting begins and ends, and what is made of the times."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lrlora.studies.bench.timing import FEWEST_PAIRS, MOST_WINDOWS, WINDOW, interleave, summarise, warm_up


class Clock:
    """A clock that only steps move on, and a note of who made them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns: list[str] = []

    def __call__(self) -> float:
        return self.now

    def step(self, name: str, *seconds: float) -> Callable[[], None]:
        """A step that takes so long at its first, second, … call, and then as at the last."""
        left = list(seconds)

        def run() -> None:
            self.turns.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_the_two_alternate_and_so_does_who_goes_first() -> None:
    clock = Clock()
    pairs = interleave(clock.step("ours", 2.0), clock.step("theirs", 1.0), 4, 1e9, clock)
    assert clock.turns == ["ours", "theirs", "theirs", "ours", "ours", "theirs", "theirs", "ours"]
    assert pairs == [(2.0, 1.0)] * 4


def test_the_time_is_up_after_the_fewest_pairs_at_the_earliest() -> None:
    clock = Clock()
    ours, theirs = clock.step("ours", 3.0), clock.step("theirs", 2.0)
    assert len(interleave(ours, theirs, 100, 1.0, clock)) == FEWEST_PAIRS
    assert len(interleave(ours, theirs, 100, 40.0, clock)) == 8
    assert len(interleave(ours, theirs, 2, 1.0, clock)) == 2


def test_warming_up_ends_when_two_windows_agree_and_notes_the_first_step() -> None:
    clock = Clock()
    # Compiled in the first step, slow in the first window, steady from the second.
    ours = clock.step("ours", 30.0, *[4.0] * WINDOW, 1.0)
    found = warm_up(ours, clock.step("theirs", 1.0), seconds=1e9, clock=clock)
    assert found.steady is True
    assert found.steps == 1 + 3 * WINDOW
    assert found.first_ms == 30_000
    assert found.seconds == clock.now


def test_warming_up_gives_up_on_what_never_is_steady() -> None:
    clock = Clock()
    ours = clock.step("ours", *[2.0**number for number in range(100)])
    found = warm_up(ours, clock.step("theirs", 1.0), seconds=float("inf"), clock=clock)
    assert found.steady is False
    assert found.steps == 1 + MOST_WINDOWS * WINDOW


@pytest.mark.parametrize("steps", [0, 2])
def test_warming_up_makes_as_many_steps_as_it_is_told(steps: int) -> None:
    clock = Clock()
    found = warm_up(clock.step("ours", 2.0), clock.step("theirs", 1.0), steps, clock=clock)
    assert clock.turns.count("ours") == clock.turns.count("theirs") == steps == found.steps
    assert found.steady is None
    assert found.first_ms == (2000 if steps else None)


def test_the_ratio_is_that_of_neighbours_and_not_of_medians() -> None:
    # The machine is three times as slow during the second pair: ratios do not notice.
    found = summarise([(2.0, 1.0), (6.0, 3.0), (2.0, 1.0)])
    assert (found.ratio, found.quartiles, found.pairs) == (2.0, (2.0, 2.0), 3)
    # And here the ratio of the medians would be 4 / 2.
    found = summarise([(1.0, 2.0), (4.0, 1.0), (5.0, 5.0)])
    assert found.ratio == 1.0
    assert found.quartiles == (0.75, 2.5)
    assert (found.ours_ms, found.lora_ms) == (4000.0, 2000.0)


def test_a_single_pair_is_its_own_quartiles() -> None:
    assert summarise([(3.0, 2.0)]).quartiles == (1.5, 1.5)

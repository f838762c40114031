"""Whose turn it is, and what is made of the times."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlora.studies.bench.timing import Ratio, interleave, ratios_to

SECONDS = st.floats(1e-3, 1e3)


def test_the_order_rotates_and_every_step_is_timed_once_a_round() -> None:
    now, turns = [0.0], []

    def step(name: str, seconds: float) -> None:
        turns.append(name)
        now[0] += seconds

    steps = {"lora": lambda: step("lora", 1.0), "ours": lambda: step("ours", 3.0), "dora": lambda: step("dora", 2.0)}
    times = interleave(steps, 4, lambda number, name: step(f"before {number} {name}", 9.0), clock=lambda: now[0])
    assert times == {"lora": [1.0] * 4, "ours": [3.0] * 4, "dora": [2.0] * 4}  # what comes before is not timed
    made = [turn for turn in turns if not turn.startswith("before")]
    assert made == ["lora", "ours", "dora", "ours", "dora", "lora", "dora", "lora", "ours", "lora", "ours", "dora"]
    assert turns[0] == "before 0 lora"


@pytest.mark.parametrize(
    ("times", "lora", "expected"),
    [
        ([2.0, 6.0, 2.0], [1.0, 3.0, 1.0], 2.0),  # the machine is three times as slow in the second round
        ([1.0, 4.0, 5.0], [2.0, 1.0, 5.0], 1.0),  # the ratio of the medians is 2
    ],
)
def test_a_ratio_is_the_median_of_paired_ratios(times: list[float], lora: list[float], expected: float) -> None:
    found = ratios_to("lora", {"lora": lora, "ours": times})
    assert found["ours"].ratio == expected
    assert found["lora"].ratio == found["lora"].low == found["lora"].high == 1.0


@given(st.lists(st.tuples(SECONDS, SECONDS, st.floats(0.1, 10)), min_size=1, max_size=9))
def test_a_machine_that_slows_down_changes_no_ratio(rounds: list[tuple[float, float, float]]) -> None:
    quiet = Ratio.of([mine for mine, _, _ in rounds], [its for _, its, _ in rounds])
    loaded = Ratio.of([mine * slow for mine, _, slow in rounds], [its * slow for _, its, slow in rounds])
    assert loaded.ratio == pytest.approx(quiet.ratio)
    slack = 1e-9 * quiet.high
    ordered = [quiet.low, quiet.quartiles[0], quiet.ratio, quiet.quartiles[1], quiet.high]
    assert all(before <= after + slack for before, after in pairwise(ordered))

"""Intervals over seeds and test examples: their parts, their limits, and the exact tests of yes and no."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrlora.studies.stats.crossed import counts_of, mean_difference
from lrlora.studies.stats.paired import paired_difference
from lrlora.studies.stats.uncertainty import Counts, Variances

shapes = st.tuples(st.integers(2, 6), st.integers(2, 30))


def layout(shape: tuple[int, int], seed: float, example: float, rest: float) -> np.ndarray:
    random = np.random.default_rng(7)
    seeds, examples = shape
    parts = seed * random.normal(size=(seeds, 1)), example * random.normal(size=(1, examples))
    return np.asarray(0.1 + sum(parts) + rest * random.normal(size=shape))


@given(shapes, st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_the_interval_is_never_narrower_than_that_of_the_seeds(
    shape: tuple[int, int], seed: float, example: float, rest: float
) -> None:
    differences = layout(shape, seed, example, rest)
    found = mean_difference(differences)
    of_seeds = paired_difference(differences.mean(1).tolist(), [0.0] * shape[0])
    assert found is not None
    assert of_seeds is not None
    for alpha in (0.05, 0.005):
        low, high = found.interval(alpha) or (np.nan, np.nan)
        inner = of_seeds.interval(alpha) or (np.nan, np.nan)
        assert low <= inner[0] + 1e-12
        assert inner[1] <= high + 1e-12


def test_examples_that_all_agree_add_nothing() -> None:
    differences = np.repeat([[0.1], [0.2], [0.4]], 50, axis=1)
    found, of_seeds = mean_difference(differences), paired_difference([0.1, 0.2, 0.4], [0.0] * 3)
    assert found is not None
    assert of_seeds is not None
    assert found.interval(0.05) == pytest.approx(of_seeds.interval(0.05))
    assert found.p == pytest.approx(of_seeds.p)


def test_seeds_that_all_agree_leave_the_examples() -> None:
    row = np.random.default_rng(0).normal(0.2, 1, 200)
    found = mean_difference(np.tile(row, (4, 1)))
    assert found is not None
    expected = stats.ttest_1samp(row, 0.0)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_one_seed_on_yes_and_no_is_mcnemars_exact_test() -> None:
    differences = np.array([[1.0] * 12 + [-1.0] * 3 + [0.0] * 85])
    found = mean_difference(differences)
    assert found is not None
    assert found.p == pytest.approx(stats.binomtest(12, 15).pvalue)


@given(st.integers(1, 30), st.data(), st.sampled_from([0.2, 0.05, 0.005]))
def test_counts_give_intervals_that_hold_the_observed_share(n: int, data: st.DataObject, alpha: float) -> None:
    more = data.draw(st.integers(0, n))
    less = data.draw(st.integers(0, n - more))
    mean = (more - less) / n
    low, high = Counts(n, more, less).interval(mean, alpha)
    assert -1 <= low <= mean <= high <= 1
    assert Counts(n, more, less).turned.interval(-mean, alpha) == pytest.approx((-high, -low))


def test_nothing_is_said_of_nothing() -> None:
    assert mean_difference(np.zeros((0, 5))) is None
    assert counts_of(np.zeros(5)).p == 1.0


@given(st.lists(st.tuples(st.floats(1e-6, 1), st.integers(1, 500)), min_size=1, max_size=3))
def test_intervals_grow_with_confidence(parts: list[tuple[float, int]]) -> None:
    widths = [Variances(tuple(parts)).half_width(alpha) for alpha in (0.5, 0.1, 0.05, 0.01, 0.001)]
    assert widths == sorted(widths)

"""Equivalence, trends and intervals over tasks and seeds agree with scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from lrlora.studies.stats.bootstrap import hierarchical_interval
from lrlora.studies.stats.equivalence import equivalence, inequivalence
from lrlora.studies.stats.paired import paired_difference, trend

FEW = st.lists(st.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 3)), min_size=3, max_size=8)


@settings(max_examples=40, deadline=None)
@given(FEW, st.floats(0.01, 2))
def test_equivalence_agrees_with_statsmodels(differences: list[float], margin: float) -> None:
    assume(np.ptp(differences) > 0)
    found = equivalence(differences, margin)
    values = np.asarray(differences)
    expected = ttost_paired(values, np.zeros(len(values)), -margin, margin)[0]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(FEW, st.floats(0.01, 2))
def test_inequivalence_is_said_where_the_interval_lies_beyond_the_margin(values: list[float], margin: float) -> None:
    found, interval = inequivalence(values, margin), paired_difference(values, [0.0] * len(values))
    assume(any(values))
    assert found is not None
    assert interval is not None
    assert interval.low is not None
    assert interval.high is not None
    assume(min(abs(abs(end) - margin) for end in (interval.low, interval.high)) > 1e-9)
    assert (found < 0.05) == (interval.low > margin or interval.high < -margin)
    within = equivalence(values, margin)
    assert within is not None
    assert max(found, within) >= 0.5, "the two exclude each other"


def test_equal_differences_have_the_spread_that_rounding_hides() -> None:
    for values, margin, t in (([0.0] * 5, 0.1, 30**0.5), ([0.05] * 5, 0.1, 7.5**0.5), ([0.2] * 5, 0.1, -(7.5**0.5))):
        assert equivalence(values, margin) == pytest.approx(stats.t.sf(t, 4))
        assert inequivalence(values, margin) == pytest.approx(min(1, 2 * stats.t.cdf(t, 4)))
    assert equivalence([0.0], 0.1) is None


def test_a_margin_is_positive() -> None:
    with pytest.raises(ValueError, match="a margin is positive"):
        equivalence([0.1, 0.2], 0.0)


def test_a_trend_is_a_test_of_slopes_of_repetitions() -> None:
    at = [2.0, 3.0, 4.0, 5.0]
    random = np.random.default_rng(0)
    series = [(-0.3 * np.asarray(at) + random.normal(0, 0.1, 4) + random.normal(0, 5)).tolist() for _ in range(6)]
    slopes = [stats.linregress(at, values).slope for values in series]
    expected = stats.ttest_1samp(slopes, 0.0)
    found = trend(at, series)
    assert found is not None
    assert found.mean == pytest.approx(np.mean(slopes))
    assert found.p == pytest.approx(expected.pvalue)


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.floats(-100, 100), st.floats(0.5, 3))
def test_a_trend_ignores_what_a_repetition_has_everywhere(values: list[float], level: float, stretch: float) -> None:
    at = [1.0, 2.0, 3.0, 4.0]
    plain = trend(at, [values, [v + 1 for v in values]])
    moved = trend(at, [[v + level for v in values], values])
    stretched = trend([stretch * x for x in at], [values, values])
    assert plain is not None
    assert moved is not None
    assert stretched is not None
    assert moved.mean == pytest.approx(plain.mean, abs=1e-9)
    assert stretched.mean * stretch == pytest.approx(plain.mean, abs=1e-9)


def test_a_trend_needs_two_places() -> None:
    with pytest.raises(ValueError, match="two places"):
        trend([1.0, 1.0], [[0.0, 1.0]])
    with pytest.raises(ValueError, match="every repetition"):
        trend([1.0, 2.0], [[0.0]])


def test_tasks_and_seeds_are_both_resampled() -> None:
    """Tasks that disagree widen the interval, however well the seeds of each agree."""
    agreeing = {str(i): [0.10, 0.11, 0.09] for i in range(6)}
    apart = {str(i): [level + 0.01, level, level - 0.01] for i, level in enumerate([0.0, 0.04, 0.08, 0.12, 0.16, 0.2])}
    narrow, wide = hierarchical_interval(agreeing), hierarchical_interval(apart)
    assert narrow is not None
    assert wide is not None
    assert narrow[0] < 0.1 < narrow[1]
    assert wide[0] < 0.1 < wide[1]
    assert wide[1] - wide[0] > 5 * (narrow[1] - narrow[0])
    assert hierarchical_interval(agreeing) == narrow


def test_the_hierarchical_interval_covers_as_often_as_it_says() -> None:
    """Percentile intervals of few tasks are known to be somewhat short; ten tasks bring them near."""
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(120):
        levels = random.normal(0.5, 1.0, 10)
        low, high = hierarchical_interval({str(i): random.normal(m, 0.5, 4) for i, m in enumerate(levels)}) or (0, 0)
        covered += low <= 0.5 <= high
    assert 0.85 <= covered / 120 <= 1.0


@pytest.mark.parametrize("by_task", [{}, {"a": [1.0, 2.0], "b": [1.0]}, {"a": [1.0], "b": [1.0], "c": [2.0]}])
def test_with_too_little_there_is_no_interval(by_task: dict[str, list[float]]) -> None:
    assert hierarchical_interval(by_task) is None

"""Equivalence, trends, seeds within tasks and ranks over tasks agree with scipy, statsmodels and published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from lrlora.studies.report.designs import compare_ranks, equivalence, hierarchical_interval, inequivalence, trend
from lrlora.studies.report.statistics import paired_difference

FEW = st.lists(st.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 3)), min_size=3, max_size=8)


@settings(max_examples=40, deadline=None)
@given(FEW, st.floats(0.01, 2))
def test_equivalence_agrees_with_statsmodels(differences: list[float], margin: float) -> None:
    found = equivalence(differences, margin)
    if np.ptp(differences) == 0:
        assert found is None
        return
    values = np.asarray(differences)
    expected = ttost_paired(values, np.zeros(len(values)), -margin, margin)[0]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(FEW, st.floats(0.01, 2))
def test_inequivalence_is_said_where_the_interval_lies_beyond_the_margin(values: list[float], margin: float) -> None:
    found, interval = inequivalence(values, margin), paired_difference(values, [0.0] * len(values))
    if found is None:
        assert np.ptp(values) == 0
        return
    assert interval is not None
    assert interval.low is not None
    assert interval.high is not None
    assume(min(abs(abs(end) - margin) for end in (interval.low, interval.high)) > 1e-9)
    assert (found < 0.05) == (interval.low > margin or interval.high < -margin)
    within = equivalence(values, margin)
    assert within is not None
    assert max(found, within) >= 0.5, "the two exclude each other"


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


def test_ranks_agree_with_published_figures() -> None:
    """Demšar 2006, Table 6: AUC of C4.5 with four settings on fourteen data sets; section 3.2.2 has the tests."""
    table = """
    0.763 0.768 0.771 0.798
    0.599 0.591 0.590 0.569
    0.954 0.971 0.968 0.967
    0.628 0.661 0.654 0.657
    0.882 0.888 0.886 0.898
    0.936 0.931 0.916 0.931
    0.661 0.668 0.609 0.685
    0.583 0.583 0.563 0.625
    0.775 0.838 0.866 0.875
    1.000 1.000 1.000 1.000
    0.940 0.962 0.965 0.962
    0.619 0.666 0.614 0.669
    0.972 0.981 0.9751 0.975
    0.957 0.978 0.946 0.970
    """
    columns = np.asarray([[float(cell) for cell in row.split()] for row in table.strip().splitlines()]).T
    found = compare_ranks(dict(zip(["C4.5", "m", "cf", "both"], columns.tolist(), strict=True)), maximize=True)
    assert found is not None
    assert found.ranks["C4.5"] == pytest.approx(3.143, abs=1e-3)
    assert found.ranks["both"] == pytest.approx(1.964, abs=1e-3)
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert found.p < 0.05
    assert any({"m", "both"} <= set(clique) for clique in found.cliques)


def test_ranks_that_tie_everywhere_are_one_clique() -> None:
    found = compare_ranks({name: [0.5] * 5 for name in "abc"}, maximize=True)
    assert found is not None
    assert set(found.ranks.values()) == {2.0}
    assert found.p == 1.0
    assert found.cliques == (("a", "b", "c"),)


def test_below_five_tasks_there_are_no_ranks() -> None:
    assert compare_ranks({name: [0.1, 0.2, 0.3, 0.4] for name in "abc"}, maximize=True) is None


@given(st.permutations(range(4)))
def test_ranks_follow_the_direction(order: list[int]) -> None:
    scores = {str(i): [float(i) + 0.01 * j for j in range(6)] for i in order}
    up, down = compare_ranks(scores, maximize=True), compare_ranks(scores, maximize=False)
    assert up is not None
    assert down is not None
    assert next(iter(up.ranks)) == "3"
    assert next(iter(down.ranks)) == "0"
    assert math.isclose(sum(up.ranks.values()), 4 * 5 / 2)

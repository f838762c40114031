"""The statistics agree with scipy and statsmodels, and keep quiet where nothing can be said."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from lrlora.studies.stats import paired
from lrlora.studies.stats.bootstrap import bootstrap_interval

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_paired_difference_agrees_with_scipy(n: int) -> None:
    random = np.random.default_rng(n)
    values, reference = random.normal(0.87, 0.01, n), random.normal(0.86, 0.01, n)
    found = paired.paired_difference(values.tolist(), reference.tolist())
    expected = stats.ttest_rel(values, reference)
    interval = expected.confidence_interval(0.95)
    assert found is not None
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx((values - reference).mean())
    assert found.effect_size == pytest.approx((values - reference).mean() / (values - reference).std(ddof=1))
    assert (found.bootstrap_low is None) == (n < 6)


@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 2), min_size=1, max_size=5))
def test_a_turned_difference_is_that_of_the_swapped_pairs(pairs: list[tuple[float, float]]) -> None:
    here, there = (list(values) for values in zip(*pairs, strict=True))
    found, swapped = paired.paired_difference(here, there), paired.paired_difference(there, here)
    assert found is not None
    assert swapped is not None
    turned = found.turned
    assert turned.turned == found
    assert turned.interval(0.3) == (None if swapped.uncertainty is None else pytest.approx(swapped.interval(0.3)))
    for name, value in dataclasses.asdict(dataclasses.replace(swapped, uncertainty=None)).items():
        if name == "uncertainty":
            continue
        assert getattr(turned, name) == (None if value is None else pytest.approx(value)), name


def test_estimate_agrees_with_scipy() -> None:
    values = [0.86, 0.87, 0.85, 0.88]
    found = paired.estimate(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found is not None
    assert (found.low, found.high, found.std) == pytest.approx((low, high, np.std(values, ddof=1)))


def test_bootstrap_brackets_the_mean_and_repeats() -> None:
    differences = [0.01, 0.02, 0.005, 0.03, 0.0, 0.015, 0.012]
    low, high = bootstrap_interval(differences) or (math.nan, math.nan)
    assert low < np.mean(differences) < high
    assert bootstrap_interval(differences) == (low, high)


@settings(max_examples=25, deadline=None)  # statsmodels takes a tenth of a second for each
@given(probabilities)
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    assert paired.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@given(probabilities)
def test_holm_is_between_p_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = paired.holm(p_values)
    for p, found in zip(p_values, adjusted, strict=True):
        assert p <= found <= min(1.0, len(p_values) * p) + 1e-12
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 10, 30])
def test_the_detectable_effect_has_the_power_it_claims(n: int) -> None:
    effect = paired.minimum_detectable_effect(2.0, n)
    assert effect is not None
    assert TTestPower().power(effect / 2.0, nobs=n, alpha=0.05) == pytest.approx(0.8, abs=1e-4)


def test_two_pairs_have_a_detectable_effect_too() -> None:
    assert paired.minimum_detectable_effect(1.0, 2) == pytest.approx(11.55, abs=0.01)


def test_one_pair_has_a_mean_and_nothing_else() -> None:
    assert paired.paired_difference([0.9], [0.8]) == paired.PairedDifference(1, pytest.approx(0.1))


def test_pairs_that_are_equal_are_not_tested() -> None:
    found = paired.paired_difference([0.3, 0.7, 1.1], [0.3, 0.7, 1.1])
    assert found == paired.PairedDifference(3, 0.0, 0.0)
    assert not found.excludes_zero


@given(st.integers(2, 12), st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_one_difference_in_every_pair_is_significant_from_four_pairs_on(n: int, size: float, level: float) -> None:
    reference = [level * (i + 1) for i in range(n)]
    assume(size > 1e-9 * max(map(abs, reference)))
    found = paired.paired_difference([value + size for value in reference], reference)
    assert found is not None
    assert (found.std, found.detectable, found.effect_size) == (0.0, None, None)
    assert found.excludes_zero is (n >= 4)
    assert found.p == pytest.approx(2 * stats.t.sf(math.sqrt(6 * n), n - 1), rel=1e-5)


def test_no_pairs_and_unequal_lengths() -> None:
    assert paired.paired_difference([], []) is None
    assert paired.estimate([]) is None
    with pytest.raises(ValueError, match="2 values cannot be paired with 1"):
        paired.paired_difference([1.0, 2.0], [1.0])

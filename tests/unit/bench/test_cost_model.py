"""The model on rates that make its answers plain."""

from __future__ import annotations

import pytest

from lrlora.studies.bench.cost_model import Rates, measure_rates

SHAPE = (100, 200)


def rates(product: float = 1.0, thin: float = 1.0) -> Rates:
    return Rates(SHAPE, dict.fromkeys((1, 10, 10_000_000), product), {4: thin})


def test_operations_are_counted_as_the_docstring_says() -> None:
    m, n = SHAPE
    for tokens in (1, 10):
        operations = 4 * tokens * m * n + 6 * tokens * 4 * (m + n)
        assert rates().lora_seconds(tokens, 4, 0.0) == pytest.approx(1e-9 * operations)
        operations = 6 * tokens * m * n + 8 * 4 * m * n
        assert rates().dense_seconds(tokens, 4, 2.0) == pytest.approx(1e-9 * (operations + 2 * m * n))


def test_with_many_tokens_and_free_thin_products_the_ratio_is_three_halves() -> None:
    free = rates(thin=1e12)
    many = 10_000_000
    assert free.dense_seconds(many, 4, 5.0) / free.lora_seconds(many, 4, 1e-3) == pytest.approx(1.5, rel=1e-4)


def test_what_is_measured_at_one_token_gives_the_constants_back() -> None:
    measured = rates().dense_seconds(1, 4, 3.0)
    assert rates().ns_per_entry(measured, 4) == pytest.approx(3.0)
    assert rates().lora_overhead(rates().lora_seconds(1, 4, 1e-3), 4) == pytest.approx(1e-3)
    assert rates().ns_per_entry(0.0, 4) == 0.0


def test_the_tokens_for_a_ratio_are_where_the_model_has_it() -> None:
    tokens = rates().tokens_for(2.0, 4, 3.0, 0.0)
    assert tokens is not None
    near = Rates(SHAPE, {round(tokens): 1.0}, {4: 1.0})
    ratio = near.dense_seconds(round(tokens), 4, 3.0) / near.lora_seconds(round(tokens), 4, 0.0)
    assert ratio == pytest.approx(2.0, abs=0.05)
    assert rates(thin=1e12).tokens_for(1.49, 4, 3.0, 0.0) is None


def test_rates_of_this_machine_are_positive() -> None:
    found = measure_rates((16, 8), [4], [2], "float32")
    assert sorted(found.product_gflops) == [1, 4]
    assert all(rate > 0 for rate in (*found.product_gflops.values(), *found.thin_gflops.values()))

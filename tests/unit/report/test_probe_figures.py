"""The probes' figures: a panel for each task or variant, a curve for each method, and nothing for other studies."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from lrlora.studies.report.probe_figures import curves_of, planted_points, probe_figures, series_of
from lrlora.studies.stats.summary import summarise


def fits(synthetic: SimpleNamespace, metric: str) -> list[dict[str, Any]]:
    """LoRA and LR-LoRA of two ranks and two seeds on two tasks; the metric is 1 / r + seed / 100, twice with φ."""
    return [
        synthetic.record(
            f"{method},r={r}",
            seed,
            task={"name": "matrix-power-law", "options": {"exponent": exponent}},
            metrics={metric: factor / r + seed / 100, "accuracy": 0.5},
            parameters={"adapter": 64 * r, "trainable": 64 * r},
            chance=0.1,
        )
        for method, factor in (("lora", 1), ("lrlora", 2))
        for r in (2, 8)
        for seed in (1, 3)
        for exponent in (0.5, 1.0)
    ]


@pytest.mark.parametrize("metric", ["svd_ratio", "memorised"])
def test_a_curve_is_a_method_along_its_parameters_and_a_panel_a_task(synthetic: SimpleNamespace, metric: str) -> None:
    records = fits(synthetic, metric)
    curves = curves_of(records, metric)
    assert curves == {
        "lora": [(128, pytest.approx(0.52)), (512, pytest.approx(0.145))],
        "lrlora": [(128, pytest.approx(1.02)), (512, pytest.approx(0.27))],
    }
    (figure,) = probe_figures(summarise(synthetic.results(records)))
    texts = re.findall(r"<text[^>]*>([^<]*)", figure.svg)
    assert {"power-law, exponent 0.5", "power-law, exponent 1.0", "lora", "lrlora"} <= set(texts)
    assert figure.caption.endswith("Means over 2 seeds.")


def test_learned_ranks_are_drawn_against_planted_ones(synthetic: SimpleNamespace) -> None:
    layers = [{"stable_rank": 1.0 + k, "target_stable_rank": 2.0 * k} for k in (1, 2, 4)]
    records = [
        synthetic.record(name, seed, metrics={"rank_correlation": 1.0}, layers=[*layers, {"stable_rank": 3.0}])
        for name in ("lora", "sinc")
        for seed in (1, 2)
    ]
    assert planted_points(records[:1]) == [(2.0, 2.0), (4.0, 3.0), (8.0, 5.0)]
    (figure,) = probe_figures(summarise(synthetic.results(records)))
    assert figure.name == "planted"
    texts = re.findall(r"<text[^>]*>([^<]*)", figure.svg)
    assert {"lora", "sinc", "learned stable rank", "planted stable rank"} <= set(texts)


def test_other_studies_have_no_figure_of_probes(synthetic: SimpleNamespace) -> None:
    assert probe_figures(summarise(synthetic.results())) == []


@pytest.mark.parametrize(
    ("variant", "series"),
    [
        ("method=lora,r=4", "lora"),
        ("own start: lrlora,r=16", "own start: lrlora"),
        ("r=4", "rank"),
        ("c3a", "c3a"),
        ("r=4,basis=sinc", "basis=sinc"),
    ],
)
def test_a_series_is_a_variant_without_its_rank(variant: str, series: str) -> None:
    assert series_of(variant) == series

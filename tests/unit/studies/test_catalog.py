"""Every built-in study is whole: it resolves at every budget, and what it says of the paper names what it runs."""

from __future__ import annotations

import pytest

from lrlora.studies.catalog import catalog_names
from lrlora.studies.spec.cells import check_comparisons, expand_cells, expand_variants
from lrlora.studies.spec.study import Study
from lrlora.studies.stats.measures import SMALLEST_EFFECTS, is_measure

PAPER = {
    "basis",
    "base-rank",
    "grid-size",
    "grid-placement",
    "bandwidth",
    "amplitude-init",
    "sharing",
    "placement",
    "layers",
    "robustness",
    "scale",
    "methods",
    "efficiency",
    "heterogeneity",
    "model-size",
    "rank-allocation",
}
"""What the catalogue promises: an ablation for every one of the papers', and for the scales."""


def test_the_catalogue_is_complete() -> None:
    assert set(catalog_names()) >= PAPER


@pytest.mark.parametrize("name", catalog_names())
def test_a_study_resolves_at_every_budget(name: str) -> None:
    study = Study.load(name)
    assert study.question.endswith("?")
    assert study.tuning or study.tune, "a comparison says what was tuned"
    assert set(study.budgets) >= {"smoke", "quick", "full"}
    for budget in study.budgets:
        resolved = study.resolve(budget)
        variants = [variant.name for variant in expand_variants(resolved)]
        check_comparisons(resolved, variants)
        assert resolved.reference in variants
        assert len({cell.id for cell in expand_cells(resolved)}) == len(expand_cells(resolved))


@pytest.mark.parametrize("name", sorted(PAPER - {"scale"}))
def test_what_is_said_of_the_paper_names_variants(name: str) -> None:
    study = Study.load(name).resolve("full")
    variants = [variant.name for variant in expand_variants(study)]
    assert study.paper["table"]
    assert set(study.paper.get("values", {})) <= set(variants)
    assert study.claims
    for claim in study.claims:
        assert claim.source
        assert claim.metric is None or is_measure(claim.metric), claim.metric


@pytest.mark.parametrize("name", catalog_names())
def test_smoke_is_small_and_seeds_are_the_papers(name: str) -> None:
    study = Study.load(name)
    smoke = study.resolve("smoke")
    cells = expand_cells(smoke)
    assert len(cells) <= 12
    assert max(cell.variant.training.steps for cell in cells) <= 10
    assert study.resolve("full").seeds[:3] == [42, 123, 456]


@pytest.mark.parametrize("name", catalog_names())
def test_every_claim_has_a_smallest_effect_of_interest(name: str) -> None:
    study = Study.load(name).resolve("quick")
    for claim in study.claims:
        known = claim.relative or (claim.metric or study.metric.name) in SMALLEST_EFFECTS
        assert claim.margin or claim.smallest_effect or known, claim.says

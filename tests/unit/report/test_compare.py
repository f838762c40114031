"""Two studies side by side: differences on shared seeds, and why there are none where there are none."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from lrlora.studies.report.comparison_report import (
    comparison_json,
    comparison_notes,
    comparison_page,
    comparison_tables,
)
from lrlora.studies.report.study_comparison import StudyComparison, compare_studies, differing_settings
from lrlora.studies.report.terminal import print_comparison
from lrlora.studies.spec.claims import Claim
from lrlora.studies.spec.study import Study as DeclaredStudy
from lrlora.studies.stats.paired import PairedDifference

SCORES = st.dictionaries(
    st.tuples(st.sampled_from(["lora", "sinc", "extra"]), st.integers(0, 3), st.sampled_from("ab")),
    st.floats(0, 1),
    max_size=14,
)


def results(synthetic: SimpleNamespace, scores: dict[tuple[str, int, str], float], **changes: Any) -> Any:
    records = [
        {"variant": v, "seed": s, "task": t, "backbone": "m", "status": "finished", "metrics": {"accuracy": score}}
        for (v, s, t), score in scores.items()
    ]
    return synthetic.results(records, **({"study": synthetic.Study(paper=None)} | changes))


def turned(found: PairedDifference | None) -> tuple[float, ...] | None:
    """What a difference says, seen from the other side."""
    if found is None:
        return None
    low, high = (0.0, 0.0) if found.low is None or found.high is None else (-found.high, -found.low)
    return (-found.mean, low, high, found.n)


def straight(found: PairedDifference | None) -> tuple[float, ...] | None:
    return None if found is None else (found.mean, found.low or 0.0, found.high or 0.0, found.n)


@given(SCORES, SCORES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_swapping_the_studies_turns_every_sign(
    synthetic: SimpleNamespace, here: dict[tuple[str, int, str], float], there: dict[tuple[str, int, str], float]
) -> None:
    one, other = results(synthetic, here), results(synthetic, there)
    forth, back = compare_studies(one, other), compare_studies(other, one)
    mirrored = {variant.name: variant for variant in back.variants}
    assert {variant.name for variant in forth.variants} == set(mirrored)
    assert (set(forth.only_first), set(forth.only_second)) == (set(back.only_second), set(back.only_first))
    for variant in forth.variants:
        mirror = mirrored[variant.name]
        assert (variant.first, variant.second) == (mirror.second, mirror.first)
        assert straight(variant.change) == pytest.approx(turned(mirror.change))
        assert straight(variant.lead_change) == pytest.approx(turned(mirror.lead_change))
    for table in comparison_tables(forth):
        assert all(len(row) == len(table.columns) for row in table.rows)


@given(SCORES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_study_does_not_differ_from_itself(
    synthetic: SimpleNamespace, scores: dict[tuple[str, int, str], float]
) -> None:
    found = compare_studies(results(synthetic, scores), results(synthetic, scores))
    assert [*found.settings, *found.only_first, *found.only_second, *found.not_comparable] == []
    assert all(variant.change is None or variant.change.mean == 0 for variant in found.variants)


def test_what_all_variants_gain_alike_is_no_change_of_a_lead(synthetic: SimpleNamespace) -> None:
    here = {("lora", s, "a"): 0.5 + s / 100 for s in range(3)} | {("sinc", s, "a"): 0.6 + s / 50 for s in range(3)}
    found = compare_studies(results(synthetic, here), results(synthetic, {k: v + 0.1 for k, v in here.items()}))
    sinc = next(variant for variant in found.variants if variant.name == "sinc")
    assert sinc.change is not None
    assert sinc.lead_change is not None
    assert (sinc.change.mean, sinc.lead_change.mean) == (pytest.approx(0.1), pytest.approx(0.0, abs=1e-12))


def test_only_shared_seeds_count(synthetic: SimpleNamespace) -> None:
    here = {("lora", s, "a"): 0.5 for s in (0, 1, 2)}
    there = {("lora", s, "a"): 0.5 + s / 10 for s in (2, 3, 1)}
    (lora,) = compare_studies(results(synthetic, here), results(synthetic, there)).variants
    assert lora.change is not None
    assert (lora.change.n, lora.change.mean) == (2, pytest.approx(0.15))


NOT_COMPARABLE: dict[str, tuple[dict[str, Any], str]] = {
    "metric": ({"study": SimpleNamespace}, "different metrics"),
    "task": ({}, "they share no task"),
    "split": ({}, "evaluated on the test split"),
}


@pytest.mark.parametrize("why", list(NOT_COMPARABLE))
def test_what_cannot_be_compared_is_shown_and_not_subtracted(synthetic: SimpleNamespace, why: str) -> None:
    scores = {("lora", s, "a"): 0.5 for s in range(2)}
    first, second = results(synthetic, scores), results(synthetic, scores)
    if why == "metric":
        second = results(synthetic, scores, study=synthetic.Study(metric=synthetic.Metric("loss", "minimize")))
    for record in second.records:
        if why == "task":
            record["task"] = "b"
        if why == "split":
            record["judged_on"] = "validation"
    found = compare_studies(first, second)
    assert NOT_COMPARABLE[why][1] in " ".join(found.not_comparable)
    assert all(variant.change is None and variant.lead_change is None for variant in found.variants)
    assert any("not comparable" in note for note in comparison_notes(found))


@given(
    st.dictionaries(st.text(max_size=2), st.integers() | st.dictionaries(st.text(max_size=2), st.integers())),
    st.dictionaries(st.text(max_size=2), st.integers() | st.dictionaries(st.text(max_size=2), st.integers())),
)
def test_settings_differ_alike_from_either_side(here: dict[str, Any], there: dict[str, Any]) -> None:
    forth, back = differing_settings(here, there), differing_settings(there, here)
    assert [(one.key, one.first, one.second) for one in forth] == [(one.key, one.second, one.first) for one in back]
    assert differing_settings(here, here) == []


def declared(synthetic: SimpleNamespace) -> StudyComparison:
    """Two declared studies with claims that they decide in opposite ways."""

    def study(rate: float) -> DeclaredStudy:
        claim = {"says": "sinc is above lora", "of": "sinc"}
        data = {"name": "basis", "reference": "lora", "baselines": {"lora": {"method": "lora"}}, "claims": [claim]}
        return DeclaredStudy.from_dict(data | {"training": {"learning_rate": rate}})

    seeds = range(4)
    lora = {("lora", s, "a"): 0.5 + s / 100 for s in seeds}
    above = lora | {("sinc", s, "a"): 0.6 + s / 90 for s in seeds}
    below = lora | {("sinc", s, "a"): 0.4 + s / 90 for s in seeds}
    return compare_studies(
        results(synthetic, above, study=study(0.1)), results(synthetic, below, study=study(0.2), planned=99)
    )


def test_designs_and_verdicts_stand_side_by_side(synthetic: SimpleNamespace) -> None:
    found = declared(synthetic)
    assert [(one.key, one.first, one.second) for one in found.settings] == [("training.learning_rate", 0.1, 0.2)]
    (claim,) = found.claims
    assert (claim.first, claim.second, claim.opposed) == ("supported", "contradicted", True)
    notes = " ".join(comparison_notes(found))
    assert "Opposite verdicts: sinc is above lora" in notes
    assert "8 of 99 cells" in notes


def test_the_page_the_terminal_and_the_data_say_the_same(synthetic: SimpleNamespace) -> None:
    found = declared(synthetic)
    output = io.StringIO()
    print_comparison(found, Console(file=output, width=200))
    page, data = comparison_page(found), json.loads(comparison_json(found))
    for text in (page, output.getvalue()):
        for word in ("training.learning_rate", "sinc is above lora", "contradicted", "Change of the lead"):
            assert word in text
    assert "<script" not in page
    assert "http" not in page
    assert data["claims"][0]["opposed"] is True
    assert {one["name"]: one["change"]["mean"] for one in data["variants"]}["sinc"] == pytest.approx(-0.2)


def test_a_claim_of_one_study_alone_is_listed(synthetic: SimpleNamespace) -> None:
    scores = {("lora", 1, "a"): 0.5, ("sinc", 1, "a"): 0.5}
    claims = [Claim(says="above", of="sinc")]
    found = compare_studies(
        results(synthetic, scores, study=synthetic.Study(paper=None, claims=claims)), results(synthetic, scores)
    )
    assert [(one.says, one.second, one.opposed) for one in found.claims] == [("above", None, False)]

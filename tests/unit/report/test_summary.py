"""From records to figures: which cells count, which are paired, and what is said about the others."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lrlora.studies.report.claim_table import claim_table
from lrlora.studies.report.result_tables import result_table
from lrlora.studies.report.sentences import caveats, headline, resolution
from lrlora.studies.spec.claims import Claim, Comparison
from lrlora.studies.stats.measures import at_chance
from lrlora.studies.stats.paired import holm
from lrlora.studies.stats.summary import StudySummary, VariantSummary, summarise


def variant(summary: StudySummary, name: str) -> VariantSummary:
    return next(found for found in summary.variants if found.name == name)


def scored(synthetic: SimpleNamespace, scores: dict[str, list[float]]) -> list[dict[str, object]]:
    return [
        synthetic.record(name, seed, accuracy=score)
        for name, values in scores.items()
        for seed, score in enumerate(values)
    ]


def test_pairs_are_matched_by_seed_and_not_by_order(synthetic: SimpleNamespace) -> None:
    records = scored(synthetic, {"sinc": [0.88, 0.90, 0.87], "lora": [0.86, 0.87, 0.86]})
    shuffled = [records[i] for i in (2, 5, 0, 3, 4, 1)]
    comparison = variant(summarise(synthetic.results(shuffled)), "sinc").comparison
    assert comparison is not None
    assert comparison.difference.p == pytest.approx(stats.ttest_rel([0.88, 0.90, 0.87], [0.86, 0.87, 0.86]).pvalue)


def test_a_diverged_partner_removes_the_pair_and_is_reported(synthetic: SimpleNamespace) -> None:
    records = [*scored(synthetic, {"sinc": [0.9, 0.9], "lora": [0.8, 0.81, 0.82]}), synthetic.diverged("sinc", 2, 60)]
    summary = summarise(synthetic.results(records))
    sinc = variant(summary, "sinc")
    assert (sinc.recorded, sinc.finished, sinc.diverged) == (3, 2, (60,))
    assert sinc.comparison is not None
    assert (sinc.comparison.difference.n, sinc.comparison.lost_pairs) == (2, 1)
    assert any("1 of 3 cells diverged at step 60" in note for note in caveats(summary))
    assert any("excluded from the paired difference of sinc" in note for note in caveats(summary))


@given(chance=st.floats(0.05, 0.95), accuracy=st.floats(0, 1), examples=st.integers(1, 10_000))
def test_a_run_at_chance_is_told_from_one_that_learnt(chance: float, accuracy: float, examples: int) -> None:
    cell = {"status": "finished", "method": "lora", "chance": chance, "metrics": {"accuracy": accuracy}}
    limited = cell | {"training": {"test_examples": examples}}
    spread = float(stats.binom(examples, chance).std()) / examples
    assume(abs(accuracy - chance - 2 * spread) > 1e-9)
    assert at_chance(limited) is (accuracy < chance + 2 * spread)
    assert at_chance(cell) is (accuracy <= chance)  # of the whole split, whose size is not known, there is no spread
    for untold in ({"method": "frozen"}, {"status": "diverged"}, {"chance": None}, {"metrics": {"loss": 1.0}}):
        assert not at_chance(limited | untold)


def test_variants_with_runs_at_chance_are_named_with_how_many(synthetic: SimpleNamespace) -> None:
    known = {"chance": 0.5, "training": {"test_examples": 100}}
    scores = {"sinc": [0.50, 0.9, 0.61], "fourier": [0.4, 0.6, 0.8], "lora": [0.8, 0.81, 0.82]}
    records = [record | known for record in scored(synthetic, scores)]
    (note,) = (found for found in caveats(summarise(synthetic.results(records))) if "majority baseline" in found)
    assert "sinc (1 of 3 cells) and fourier (2 of 3)." in note


def test_an_axis_that_varies_within_the_reference_tells_cells_apart(synthetic: SimpleNamespace) -> None:
    records = [
        synthetic.record(name, seed, accuracy=accuracy + 0.1 * (r == 8), axes={"r": r})
        for r in (4, 8)
        for name, accuracy in (("sinc", 0.72), ("lora", 0.70))
        for seed in (1, 2)
    ]
    comparison = variant(summarise(synthetic.results(records)), "sinc").comparison
    assert comparison is not None
    assert (comparison.unit, comparison.difference.n) == ("seed", 2)
    assert comparison.difference.mean == pytest.approx(0.02)


def test_with_several_tasks_seeds_are_averaged_within_each(synthetic: SimpleNamespace) -> None:
    effects = {"a": 0.01, "b": 0.03, "c": 0.02}
    records = [
        synthetic.record(name, seed, task=task, accuracy=0.8 + seed / 100 + effect * (name == "sinc"))
        for task, effect in effects.items()
        for name in ("sinc", "lora")
        for seed in (1, 2)
    ]
    sinc = variant(summarise(synthetic.results(records)), "sinc")
    assert sinc.comparison is not None
    assert (sinc.comparison.unit, sinc.comparison.difference.n) == ("task", 3)
    assert sinc.comparison.difference.std == pytest.approx(np.std(list(effects.values()), ddof=1))
    assert list(sinc.by_place) == list(effects)


def test_holm_covers_the_whole_family(synthetic: SimpleNamespace) -> None:
    summary = summarise(synthetic.results())
    for found in summary.variants:
        if found.comparison and found.comparison.p_holm is not None and found.comparison.difference.p is not None:
            assert found.comparison.difference.p <= found.comparison.p_holm


def test_layers_are_averaged_over_seeds_before_the_spread_over_layers(synthetic: SimpleNamespace) -> None:
    layer = {"role": "q", "depth": 0, "r": 4, "nonlinear_fraction": 0.1, "max_abs_z": 1.0, "outside_grid": 0.0}
    ranks = {1: (1.0, 3.0), 2: (2.0, 4.0)}
    records = [
        synthetic.record(
            "sinc", seed, layers=[layer | {"module": m, "stable_rank": v} for m, v in zip("xy", values, strict=True)]
        )
        for seed, values in ranks.items()
    ]
    layers = variant(summarise(synthetic.results(records)), "sinc").layers
    assert layers is not None
    assert (layers.layers, layers.stable_rank) == (2, 2.5)
    assert layers.stable_rank_std == pytest.approx(np.std([1.5, 3.5], ddof=1))


@pytest.mark.parametrize(("bend", "flagged"), [(0.004, True), (0.05, False)])
def test_a_linear_phi_is_flagged_and_lora_never_is(synthetic: SimpleNamespace, bend: float, flagged: bool) -> None:
    summary = summarise(synthetic.results([synthetic.record(name, 1, bend=bend) for name in ("sinc", "lora")]))
    assert variant(summary, "sinc").is_linear is flagged
    assert not variant(summary, "lora").is_linear
    assert any("this compares LoRA with LoRA" in note for note in caveats(summary)) is flagged


HEADLINES = {
    "excludes 0 (Holm-corrected": {"sinc": [0.88, 0.89, 0.90], "lora": [0.86, 0.8701, 0.88]},
    "includes 0: undecided": {"sinc": [0.90, 0.84, 0.88], "lora": [0.86, 0.87, 0.87]},
    "on one seed: without repetition there is no interval": {"sinc": [0.9], "lora": [0.8]},
    "excludes 0, but the difference is not significant (Holm-corrected": {
        "sinc": [0.880, 0.890, 0.902],
        "fourier": [0.88, 0.80, 0.85],
        "bspline": [0.80, 0.88, 0.85],
        "lora": [0.860, 0.876, 0.876],
    },
    "The reference lora has the highest mean accuracy": {"sinc": [0.8, 0.81, 0.80], "lora": [0.86, 0.87, 0.88]},
    "no other variant has a result": {"lora": [0.86, 0.87]},
    "sinc and fourier share the highest mean accuracy, 90.00 %. Their differences": {
        "sinc": [0.9],
        "fourier": [0.9],
        "lora": [0.8],
    },
    "the reference lora among them": {"sinc": [0.9, 0.8], "lora": [0.8, 0.9]},
}


@pytest.mark.parametrize(("expected", "scores"), list(HEADLINES.items()))
def test_the_headline_says_no_more_than_the_interval(
    synthetic: SimpleNamespace, expected: str, scores: dict[str, list[float]]
) -> None:
    assert expected in headline(summarise(synthetic.results(scored(synthetic, scores))))


def test_several_linear_variants_are_flagged_in_one_line(synthetic: SimpleNamespace) -> None:
    records = [synthetic.record(name, 1, bend=0.004) for name in ("sinc", "gaussian", "lora")]
    (note,) = (found for found in caveats(summarise(synthetic.results(records))) if "linear" in found)
    assert note.startswith("φ is linear (mean nonlinear fraction below 1 %) in sinc (0.")
    assert note.endswith("this compares LoRA with LoRA.")


def test_the_headline_without_a_shared_seed(synthetic: SimpleNamespace) -> None:
    records = [synthetic.record("sinc", 1, accuracy=0.9), synthetic.record("lora", 2, accuracy=0.8)]
    summary = summarise(synthetic.results(records))
    assert "shares no finished seed with the reference lora" in headline(summary)
    assert any("no paired differences" in note for note in caveats(summary))


def test_one_variant_against_many_is_told_in_the_rows_of_the_others(synthetic: SimpleNamespace) -> None:
    scores = {
        "lora": [0.80, 0.82, 0.81],
        "sinc": [0.83, 0.84, 0.82],
        "dora": [0.90, 0.88, 0.86],
        "full": [0.7, 0.7, 0.7],
    }
    family = [Comparison(of="sinc", against="lora"), Comparison(of="sinc", against="dora")]
    summary = summarise(synthetic.results(scored(synthetic, scores), study=synthetic.Study(comparisons=family)))
    sinc, dora, full = (variant(summary, name).comparison for name in ("sinc", "dora", "full"))
    assert sinc is not None
    assert dora is not None
    assert full is None
    assert (sinc.against, dora.against) == ("lora", "sinc")
    assert dora.difference.mean == pytest.approx(0.05)
    assert dora == summary.comparisons[1].turned
    assert "It is 5.00 points above sinc" in headline(summary)
    assert len(summary.comparisons) == len(family)  # the family of tests is the declared one


def test_the_headline_does_not_take_an_undeclared_comparison_for_a_missing_seed(synthetic: SimpleNamespace) -> None:
    scores = {"lora": [0.80, 0.82], "sinc": [0.83, 0.84], "full": [0.90, 0.91]}
    study = synthetic.Study(comparisons=[Comparison(of="sinc", against="lora")])
    assert "does not compare it with the reference lora" in headline(
        summarise(synthetic.results(scored(synthetic, scores), study=study))
    )


def test_beside_a_leading_reference_stands_the_nearest_that_was_compared_with_it(synthetic: SimpleNamespace) -> None:
    scores = {"lora": [0.90, 0.92], "sinc": [0.83, 0.84], "full": [0.85, 0.87]}
    family = [Comparison(of="sinc", against="lora"), Comparison(of="sinc", against="full")]
    said = headline(summarise(synthetic.results(scored(synthetic, scores), study=synthetic.Study(comparisons=family))))
    assert "The nearest, sinc, is 7.50 points below lora" in said
    alone = synthetic.Study(comparisons=[Comparison(of="sinc", against="full")])
    assert "no other variant was compared with it" in headline(
        summarise(synthetic.results(scored(synthetic, scores), study=alone))
    )


def test_a_minimised_metric_turns_the_ranking_round(synthetic: SimpleNamespace) -> None:
    records = scored(synthetic, {"sinc": [0.9, 0.91], "lora": [0.8, 0.82]})
    study = synthetic.Study(metric=synthetic.Metric("loss", "minimize"), paper=None)
    assert headline(summarise(synthetic.results(records, study=study))).startswith("sinc has the lowest mean loss")


def test_an_unknown_direction_is_refused(synthetic: SimpleNamespace) -> None:
    study = synthetic.Study(metric=synthetic.Metric("loss", "smaller"))
    with pytest.raises(ValueError, match="'smaller' is neither"):
        summarise(synthetic.results([], study=study))


def test_the_resolution_names_the_limits_of_few_pairs(synthetic: SimpleNamespace) -> None:
    three = " ".join(resolution(summarise(synthetic.results())))
    assert "With 3 pairs per comparison" in three
    assert "with 80 % power" in three


def test_verdicts_need_a_decision(synthetic: SimpleNamespace) -> None:
    scores = {"sinc": [0.880, 0.8901, 0.90], "gaussian": [0.9, 0.8, 0.85], "lora": [0.86, 0.87, 0.8801]}
    paper = {"values": {"sinc": 50.0, "gaussian": {"mean": 61.0}, "lora": 57.0}}
    summary = summarise(synthetic.results(scored(synthetic, scores), study=synthetic.Study(paper=paper)))
    verdicts = {
        v.name: v.comparison.verdict(v.published.difference, "accuracy")
        for v in summary.variants
        if v.comparison and v.published
    }
    assert verdicts == {"sinc": "contradicted", "gaussian": "undecided"}


def test_a_study_without_a_reference_takes_its_first_baseline(synthetic: SimpleNamespace) -> None:
    study = synthetic.Study(reference=None)
    assert summarise(synthetic.results(study=study)).reference is None
    study.baselines = {"lora": {}}
    assert summarise(synthetic.results(study=study)).reference == "lora"


def test_the_resolution_gives_one_test_example_in_points(synthetic: SimpleNamespace) -> None:
    records = synthetic.full((1, 2))
    assert "same" not in " ".join(resolution(summarise(synthetic.results(records))))
    for record in records:
        record["training"]["test_examples"] = 200
    said = " ".join(resolution(summarise(synthetic.results(records))))
    assert "evaluated on the same 200 test examples, where one example is 0.50" in said


def test_declared_comparisons_are_the_family_and_name_their_partners(synthetic: SimpleNamespace) -> None:
    declared = [Comparison(of="gaussian", against="sinc"), Comparison(of="bspline", against="lora")]
    summary = summarise(synthetic.results(study=synthetic.Study(comparisons=declared)))
    assert [(one.of, one.against) for one in summary.comparisons] == [("gaussian", "sinc"), ("bspline", "lora")]
    assert summary.partner is None
    assert variant(summary, "fourier").comparison is None
    table = result_table(summary)
    by_name = {row[0]: row for row in table.rows}
    assert table.columns[3].heading == "Difference [95 %]"
    assert by_name["gaussian"][3].endswith(" to sinc")
    published = variant(summary, "gaussian").published
    assert published is not None
    assert published.difference == pytest.approx(60.4 - 61.1)


def test_claims_are_a_family_and_comparisons_another(synthetic: SimpleNamespace) -> None:
    claims = [
        Claim(says="sinc is above LoRA", of="sinc"),
        Claim(says="sinc is above gaussian", of="sinc", against="gaussian"),
    ]
    both = summarise(synthetic.results(study=synthetic.Study(claims=claims)))
    p_values = [one.difference.p or 0.0 for one in both.comparisons]
    assert [one.p_holm for one in both.comparisons] == pytest.approx(holm(p_values))
    assert [one.level for one in both.verdicts] == pytest.approx([0.025, 0.025])
    table = claim_table(both)
    assert table is not None
    assert [row[0] for row in table.rows] == ["sinc is above LoRA", "sinc is above gaussian"]
    assert claim_table(summarise(synthetic.results(study=synthetic.Study()))) is None

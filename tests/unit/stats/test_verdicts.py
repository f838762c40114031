"""A claim is settled only where the data carry it, and otherwise said to be undecided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lrlora.studies.spec.claims import Claim
from lrlora.studies.stats.comparisons import compare
from lrlora.studies.stats.measures import DERIVED, convergence_step, generalization_gap, measure
from lrlora.studies.stats.runs import runs_frame
from lrlora.studies.stats.verdicts import ClaimVerdict, examine

SEEDS = (1, 2, 3, 4, 5)


def record(variant: str, seed: int, accuracy: float, **fields: Any) -> dict[str, Any]:
    return {
        "variant": variant,
        "seed": seed,
        "task": "t",
        "backbone": "b",
        "status": "finished",
        "metrics": {"accuracy": accuracy},
        **fields,
    }


def study(levels: dict[str, float], noise: float = 0.002, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    random = np.random.default_rng(seed)
    common = {s: random.normal(0, 0.02) for s in SEEDS}
    return {
        name: [record(name, s, level + common[s] + random.normal(0, noise)) for s in SEEDS]
        for name, level in levels.items()
    }


def frame(records: dict[str, list[dict[str, Any]]]) -> pd.DataFrame:
    measures = ["accuracy", "loss", "step_seconds", "perplexity", "diverged"]
    return runs_frame([record for found in records.values() for record in found], measures)


def judge(claim: dict[str, Any], records: dict[str, list[dict[str, Any]]], beside: Sequence[str] = ()) -> ClaimVerdict:
    claims = [Claim(says="x", **claim), *(Claim(says=name, of=name) for name in beside)]
    return examine(claims, frame(records), "lora", "accuracy")[0]


def decided(claim: dict[str, Any], records: dict[str, list[dict[str, Any]]], beside: Sequence[str] = ()) -> str:
    return judge(claim, records, beside).outcome


def test_a_difference_with_the_claimed_sign_is_reproduced() -> None:
    records = study({"lora": 0.80, "sinc": 0.83})
    assert decided({"of": "sinc"}, records) == "supported"
    assert decided({"of": "sinc", "sign": "negative"}, records) == "contradicted"


def test_a_gain_may_be_above_zero_and_below_the_published_one() -> None:
    verdict = judge({"of": "sinc", "paper": 3.8}, study({"lora": 0.80, "sinc": 0.812}))
    assert verdict.words == "supported, but smaller than published"
    assert verdict.published == pytest.approx(0.038)
    assert judge({"of": "sinc", "paper": 1.2}, study({"lora": 0.80, "sinc": 0.812})).words == "supported"
    noisy = study({"lora": 0.80, "sinc": 0.81}, noise=0.01)
    assert judge({"of": "sinc", "paper": 8.0}, noisy).words == "smaller than published"
    turned = {"of": "lora", "against": "sinc", "sign": "negative", "paper": -8.0}
    assert judge(turned, noisy).words == "smaller than published"


def test_a_difference_below_the_smallest_effect_of_interest_is_none_of_that_size() -> None:
    records = study({"lora": 0.80, "sinc": 0.8001}, noise=0.001)
    assert decided({"of": "sinc"}, records) == "no effect of that size"
    assert decided({"of": "sinc", "smallest_effect": 1e-4}, records) == "undecided"


def test_parameter_counts_are_compared_and_not_tested() -> None:
    records = {name: [record(name, s, 0.8) for s in (1,)] for name in ("lora", "sinc")}
    for name, count in (("lora", 100), ("sinc", 101)):
        for one in records[name]:
            one["parameters"] = {"adapter": count}
    runs = runs_frame([one for found in records.values() for one in found], ["accuracy", "parameters.adapter"])
    claim = Claim(says="x", of="sinc", metric="parameters.adapter", kind="at_most", relative=True, margin=0.02)
    (verdict,) = examine([claim], runs, "lora", "accuracy")
    assert (verdict.outcome, verdict.p) == ("supported", None)


def test_intervals_cover_the_test_examples_where_their_results_are_known() -> None:
    random = np.random.default_rng(0)
    records, examples = [], {}
    for name, shift in (("lora", 0.0), ("sinc", 0.05)):
        for seed in SEEDS:
            correct = random.random(400) < 0.7 + shift
            records.append(record(name, seed, float(correct.mean()), mlflow_run_id=f"{name}{seed}"))
            examples[f"{name}{seed}"] = {"correct": correct}
    (with_examples,), (without,) = (
        examine([Claim(says="x", of="sinc")], runs_frame(records, ["accuracy"], arrays), "lora", "accuracy")
        for arrays in (examples, None)
    )
    assert with_examples.found is not None
    assert without.found is not None
    assert with_examples.found.examples == 400
    assert with_examples.found.mean == pytest.approx(without.found.mean)
    # Arrays that are not what the record says are left out.
    wrong = {run: {"correct": ~arrays["correct"]} for run, arrays in examples.items()}
    assert "examples.accuracy" not in runs_frame(records, ["accuracy"], wrong)


def test_one_seed_settles_nothing() -> None:
    records = {name: [record(name, 1, level)] for name, level in (("lora", 0.1), ("sinc", 0.9))}
    assert decided({"of": "sinc"}, records) == "undecided"


def test_noise_decides_nothing() -> None:
    assert decided({"of": "sinc"}, study({"lora": 0.80, "sinc": 0.801}, noise=0.02)) == "undecided"


def test_many_tests_raise_the_bar() -> None:
    others = {f"other{i}": 0.80 for i in range(60)}
    records = study({"lora": 0.80, "sinc": 0.804} | others, noise=0.001)
    assert decided({"of": "sinc"}, records) == "supported"
    assert decided({"of": "sinc"}, records, beside=list(others)) == "undecided"


def test_a_shrinking_gain_is_a_trend() -> None:
    gains = {4: 0.053, 8: 0.042, 16: 0.038, 32: 0.032}
    levels = {f"lora,r={r}": 0.7 + 0.01 * i for i, r in enumerate(gains)}
    levels |= {f"lrlora,r={r}": levels[f"lora,r={r}"] + gain for r, gain in gains.items()}
    claim = {"of": "lrlora,r=*", "against": "lora,r=*", "kind": "trend"}
    assert decided(claim | {"sign": "negative"}, study(levels)) == "supported"
    assert decided(claim, study(levels)) == "contradicted"
    found = judge(claim, study(levels, noise=1e-6)).found
    assert found is not None
    assert found.mean == pytest.approx(np.polyfit([2, 3, 4, 5], list(gains.values()), 1)[0], abs=1e-4)


def test_equivalence_needs_evidence_of_its_own() -> None:
    claim = {"of": "tied", "kind": "equivalence", "margin": 0.01}
    assert decided(claim, study({"lora": 0.80, "tied": 0.8005})) == "supported"
    assert decided(claim, study({"lora": 0.80, "tied": 0.80}, noise=0.05)) == "undecided"
    assert decided(claim, study({"lora": 0.80, "tied": 0.85})) == "contradicted"


def test_that_it_is_beyond_the_margin_is_a_test_among_the_others_too() -> None:
    claim = {"of": "sinc", "kind": "equivalence", "margin": 0.001}
    others = {f"other{i}": 0.80 for i in range(200)}
    records = study({"lora": 0.80, "sinc": 0.804} | others, noise=0.001)
    assert decided(claim, records) == "contradicted"
    assert decided(claim, records, beside=list(others)) == "undecided"


def test_what_is_at_most_so_much_may_be_any_less() -> None:
    claim = {"of": "lean", "kind": "at_most", "margin": 0.01}
    for level, decision in ((0.70, "supported"), (0.805, "supported"), (0.85, "contradicted")):
        assert decided(claim, study({"lora": 0.80, "lean": level})) == decision
    assert decided(claim, study({"lora": 0.80, "lean": 0.81}, noise=0.05)) == "undecided"


def test_other_figures_of_a_run_can_be_claimed() -> None:
    random = np.random.default_rng(0)
    records = {
        name: [record(name, s, 0.8, step_seconds=level + random.normal(0, 0.001)) for s in SEEDS]
        for name, level in {"lora": 0.1, "lrlora": 0.13}.items()
    }
    assert decided({"of": "lrlora", "metric": "step_seconds"}, records) == "supported"


def test_a_contrast_weighs_variants() -> None:
    """Whether the gain of both together is more than the sum of the gains of each."""
    levels = {"lora": 0.70, "attention": 0.71, "mlp": 0.72, "all": 0.76}
    claim = {"kind": "contrast", "weights": {"all": 1, "attention": -1, "mlp": -1, "lora": 1}}
    assert decided(claim, study(levels)) == "supported"
    assert decided(claim | {"sign": "negative"}, study(levels)) == "contradicted"
    assert decided(claim, study(levels | {"all": 0.73}, noise=0.01)) == "undecided"
    assert decided(claim | {"weights": {"all": 1, "gone": -1}}, study(levels)) == "not tested"


def test_a_relative_difference_is_a_share_of_the_partner() -> None:
    random = np.random.default_rng(0)
    records = {
        name: [record(name, s, 0.8, step_seconds=level * (1 + random.normal(0, 0.001))) for s in SEEDS]
        for name, level in {"lora": 0.1, "lrlora": 0.101}.items()
    }
    claim = {"of": "lrlora", "metric": "step_seconds", "relative": True}
    found = judge(claim, records).found
    assert found is not None
    assert found.mean == pytest.approx(0.01, abs=2e-3)
    assert decided(claim | {"kind": "equivalence", "margin": 0.02}, records) == "supported"
    assert decided(claim | {"kind": "equivalence", "margin": 0.001}, records) == "contradicted"


def test_a_claim_may_be_about_a_figure_itself() -> None:
    records = study({"N=8": 0.9, "N=32": 0.7, "N=128": 0.5})
    claim = {"of": "N=*", "against": "nothing", "kind": "trend", "sign": "negative"}
    assert decided(claim, records) == "supported"
    found = judge(claim, records).found
    assert found is not None
    assert found.mean == pytest.approx(-0.1, abs=5e-3)
    assert decided({"of": "N=8", "against": "nothing"}, records) == "supported"


@pytest.mark.parametrize(("seeds", "decision"), [(10, "supported"), (3, "undecided")])
def test_that_all_runs_diverge_is_decided_if_they_are_not_few(seeds: int, decision: str) -> None:
    records = {name: [record(name, s, 0.8) for s in range(seeds)] for name in ("lora", "steep")}
    records["steep"] = [r | {"status": "diverged"} for r in records["steep"]]
    verdict = judge({"of": "steep", "metric": "diverged"}, records)
    assert verdict.found is not None
    assert (verdict.found.mean, verdict.outcome) == (1.0, decision)


def test_one_difference_in_every_seed_is_decided() -> None:
    levels = [0.5, 0.55, 0.6, 0.65, 0.7]
    records = {"lora": [record("lora", s, level) for s, level in zip(SEEDS, levels, strict=True)]}
    records["sinc"] = [record("sinc", s, level + 0.1) for s, level in zip(SEEDS, levels, strict=True)]
    assert decided({"of": "sinc"}, records) == "supported"
    assert decided({"of": "sinc", "sign": "negative"}, records) == "contradicted"
    assert decided({"of": "sinc", "kind": "equivalence", "margin": 0.01}, records) == "contradicted"
    assert decided({"of": "sinc", "kind": "at_most", "margin": 0.3}, records) == "supported"
    records["same"] = [record("same", s, level) for s, level in zip(SEEDS, levels, strict=True)]
    assert decided({"of": "same"}, records) == "no effect of that size"
    assert decided({"of": "same", "kind": "equivalence", "margin": 0.01}, records) == "supported"


def test_what_was_not_run_is_not_tested() -> None:
    records = study({"lora": 0.8, "sinc": 0.83})
    assert decided({"of": "gaussian"}, records) == "not tested"
    assert decided({"of": "sinc", "metric": "perplexity"}, records) == "not tested"
    broken = {name: [r | {"status": "diverged"} for r in found] for name, found in records.items()}
    assert decided({"of": "sinc"}, broken) == "not tested"


def test_tasks_are_the_repetitions_where_there_are_several() -> None:
    records = {
        name: [record(name, s, level + 0.001 * s + 0.01 * t, task=f"t{t}") for s in SEEDS for t in range(4)]
        for name, level in {"lora": 0.8, "sinc": 0.83}.items()
    }
    verdict = judge({"of": "sinc"}, records)
    assert verdict.unit == "task"
    assert verdict.found is not None
    assert verdict.found.n == 4


def test_a_frame_made_by_hand_needs_variants_seeds_and_a_measure_alone() -> None:
    runs = pd.DataFrame(
        {"variant": ["a"] * 4 + ["b"] * 4, "seed": [1, 2, 3, 4] * 2, "score": [2.0, 3.1, 4.0, 5.0, 1.0, 2.0, 3.0, 4.2]}
    )
    (found,) = compare(runs.sample(frac=1, random_state=0), [("a", "b")], "score")
    assert (found.difference.n, found.lost_pairs) == (4, 0)
    assert found.difference.mean == pytest.approx(0.975)
    (verdict,) = examine([Claim(says="a is above b", of="a", against="b")], runs, None, "score")
    assert verdict.found is not None
    assert verdict.found.mean == pytest.approx(found.difference.mean)


def test_a_loss_converges_where_it_stays_near_its_end() -> None:
    falling = {"train_loss": [1.0] * 20 + [0.1] * 80, "status": "finished"}
    assert convergence_step(falling) == pytest.approx(20, abs=5)
    assert convergence_step({"train_loss": [1.0] * 40}) is None
    assert convergence_step({"train_loss": [1.0, 0.5]}) is None
    early, late = ({"train_loss": np.exp(-np.arange(200) / tau).tolist()} for tau in (10, 30))
    assert (convergence_step(early) or 0) < (convergence_step(late) or 0)


def test_the_gap_is_training_less_test_accuracy() -> None:
    assert generalization_gap(record("x", 1, 0.8) | {"train_metrics": {"accuracy": 0.9}}) == pytest.approx(0.1)
    assert generalization_gap(record("x", 1, 0.8)) is None


def test_measures_read_records() -> None:
    layers = [{"stable_rank": 1.0, "nonlinear_fraction": None}, {"stable_rank": 3.0, "nonlinear_fraction": 0.2}]
    one = record("x", 1, 0.8, layers=layers, parameters={"adapter": 7}, step_seconds=float("nan"))
    assert measure(one, "accuracy") == 0.8
    assert measure(one, "stable_rank") == 2.0
    assert measure(one, "stable_rank_std") == pytest.approx(2**0.5)
    assert measure(one, "nonlinear_fraction") == 0.2
    assert measure(one, "parameters.adapter") == 7
    assert measure(one, "step_seconds") is None
    assert measure(one, "no such thing") is None
    assert all(about for _, about in DERIVED.values())

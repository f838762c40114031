"""The sampler asks for runs that help open claims, each once; the pruner stops runs at chance."""

from __future__ import annotations

import random
from collections import Counter

import optuna
import pandas as pd
import pytest

from lrlora.studies.sampling import ChancePruner, ClaimSampler, next_run, runs_to_go, seed_order, suggest_cell
from lrlora.studies.spec.claims import Claim
from lrlora.studies.stats.sequential import LOOKS, ClaimPath, follow

LEVELS = {"lora": 0.8, "big": 0.83, "noisy": 0.803, "apart": 0.7}
NOISE = {"noisy": 0.02}
CLAIMS = [Claim(says=name, of=name, paper=3.0) for name in ("big", "noisy")]


def accuracy(variant: str, seed: int) -> float:
    return LEVELS[variant] + random.Random(f"{variant} {seed}").gauss(0, NOISE.get(variant, 0.002))


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_study_ends_when_its_claims_do(jobs: int) -> None:
    sampler = ClaimSampler(CLAIMS, list(LEVELS), [7], reference="lora", most_seeds=8)
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def train(trial: optuna.Trial) -> float:
        variant, seed = suggest_cell(trial, sampler)
        trial.suggest_float("other", 0, 1)
        return accuracy(variant, seed)

    study.optimize(train, n_trials=100, n_jobs=jobs, callbacks=[sampler.stop])
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    runs = Counter((trial.params["variant"], trial.params["seed"]) for trial in complete)
    assert set(runs.values()) == {1}
    by_variant = Counter(variant for variant, _ in runs)
    big, noisy = sampler.follow(study)
    assert big.state == "settled"
    assert noisy.state in ("futile", "undecided", "settled")
    assert by_variant["apart"] == 0, "no claim is about it"
    assert by_variant["big"] < by_variant["noisy"] <= by_variant["lora"]
    assert {seed for _, seed in runs} <= set(seed_order([7], 8))


def test_a_run_that_serves_several_claims_goes_first_and_then_the_cheaper_claim() -> None:
    paths = [ClaimPath(claim, (), 0.025) for claim in CLAIMS]
    chosen, ended = [], set[tuple[str, int]]()
    costs = {"lora": 1.0, "noisy": 1.0, "big": 9.0}
    for _ in range(6):
        run = next_run(paths, list(LEVELS), "lora", [1, 2, 3, 4], ended, cost=costs.__getitem__)
        assert run is not None
        ended.add(run)
        chosen.append(run)
    assert [name for name, _ in chosen] == ["lora"] * 3 + ["noisy"] * 3
    assert runs_to_go(paths, list(LEVELS), "lora", [1, 2, 3, 4], set()) == [
        (name, seed) for seed in (1, 2, 3) for name in ("lora", "big", "noisy")
    ]


def test_what_runs_is_not_asked_for_again() -> None:
    frame = pd.DataFrame([{"variant": n, "seed": s, "value": accuracy(n, s)} for n in LEVELS for s in (1, 2, 3)])
    paths = follow(CLAIMS[1:], frame, [1, 2, 3, 4, 5], "lora", "value", list(LEVELS))
    ended = {(name, seed) for name in LEVELS for seed in (1, 2, 3)}
    busy: set[tuple[str, int]] = set()
    while (run := next_run(paths, list(LEVELS), "lora", [1, 2, 3, 4, 5], ended, busy)) is not None:
        assert run not in busy | ended
        busy.add(run)
    assert busy == {(name, seed) for name in ("lora", "noisy") for seed in (4, 5)}


def test_seeds_that_are_added_are_the_same_for_all_studies() -> None:
    assert seed_order([42, 1001], 4, avoid=[1002]) == [42, 1001, 1003, 1004]
    assert seed_order(seed_order([42], 3), 6) == seed_order([42], 6), "a study goes on with the seeds that it would add"
    assert seed_order([5, 6, 7], 2) == [5, 6, 7]
    assert max(LOOKS) == 20


@pytest.mark.parametrize(
    ("reported", "pruned"), [([0.5, 0.55], True), ([0.7, 0.5], False), ([0.5], False), ([0.5, float("nan")], True)]
)
def test_a_run_at_chance_is_pruned_after_the_warmup(reported: list[float], pruned: bool) -> None:
    study = optuna.create_study(direction="maximize", pruner=ChancePruner(0.5, examples=100, warmup=1))
    trial = study.ask()
    for step, value in enumerate(reported):
        trial.report(value, step)
    assert trial.should_prune() is pruned


def test_a_pruner_of_losses_is_refused() -> None:
    trial = optuna.create_study(direction="minimize", pruner=ChancePruner(0.5, 100, 0)).ask()
    trial.report(0.1, 0)
    with pytest.raises(ValueError, match="maximizes an accuracy"):
        trial.should_prune()
    with pytest.raises(ValueError, match="chance must be between 0 and 1, got 2"):
        ChancePruner(2, 100, 0)

"""Claims that are looked at again and again: seldom wrong, whatever the order, and given up where nothing will come."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrlora.studies.spec.claims import Claim
from lrlora.studies.stats.sequential import LOOKS, MOST_SEEDS, ClaimPath, follow
from lrlora.studies.stats.simulation import PUBLISHED, SMALLEST, Design, simulate_sequential

VARIANTS = ("lora", "sinc", "noisy")
SEEDS = list(range(100, 100 + MOST_SEEDS))
CLAIMS = [Claim(says=name, of=name, paper=3.0) for name in ("sinc", "noisy")]


def runs(seeds: int, sinc: float = 0.03, noise: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Of all variants: ``sinc`` is better by ``sinc``, and ``noisy`` has a spread of ``noise``."""
    random = np.random.default_rng(seed)
    spread = random.normal(0, [[0.002], [0.002], [noise]], (3, MOST_SEEDS))
    level = np.array([[0.8], [0.8 + sinc], [0.8]]) + spread
    rows = [
        {"variant": name, "seed": SEEDS[i], "accuracy": level[v, i]}
        for i in range(seeds)
        for v, name in enumerate(VARIANTS)
    ]
    return pd.DataFrame(rows)


def look(frame: pd.DataFrame, most: int = MOST_SEEDS) -> list[ClaimPath]:
    return follow(CLAIMS, frame, SEEDS, "lora", "accuracy", VARIANTS, most_seeds=most)


def seen(path: ClaimPath) -> list[tuple[int, str]]:
    return [(one.seeds, one.verdict.words) for one in path.looks]


def test_the_shares_of_all_looks_are_one_level() -> None:
    assert sum(LOOKS.values()) <= 1 + 1e-12
    assert list(LOOKS) == sorted(LOOKS)


@given(st.integers(0, 20), st.integers(0, 99), st.floats(-0.02, 0.04))
@settings(max_examples=8, deadline=None)
def test_a_verdict_depends_on_the_first_seeds_alone(ended: int, seed: int, effect: float) -> None:
    frame = runs(MOST_SEEDS, effect, seed=seed)
    whole, part = look(frame), look(frame[frame["seed"].isin(SEEDS[:ended])])
    shuffled = look(frame.sample(frac=1, random_state=seed))
    for all_looks, some, others in zip(whole, part, shuffled, strict=True):
        assert seen(some) == [one for one in seen(all_looks) if one[0] <= ended]
        assert seen(others) == seen(all_looks)


def test_a_seed_counts_when_all_runs_of_its_look_have_ended() -> None:
    frame = runs(6)
    late = frame.drop(frame[(frame["variant"] == "lora") & (frame["seed"] == SEEDS[3])].index)
    assert [one.seeds for one in look(late)[1].looks] == [3]
    assert [one.seeds for one in look(frame)[1].looks] == [3, 4, 5, 6]
    places = follow(CLAIMS, frame, SEEDS, "lora", "accuracy", VARIANTS, places=2)
    assert not places[0].looks, "on two tasks there are two runs of each seed"


def test_a_large_effect_is_settled_and_noise_is_given_up() -> None:
    paths = [look(runs(13, noise=0.3, seed=seed)) for seed in range(6)]
    assert [noisy.state for _, noisy in paths].count("futile") >= 4
    sinc, noisy = paths[1]
    assert sinc.state == "settled"
    assert sinc.settled_after is not None
    assert sinc.settled_after < 8
    assert (noisy.state, noisy.settled_after) == ("futile", None)
    last = look(runs(8), most=8)[1]
    assert (last.state, last.to_come) == ("undecided", ())
    first = look(runs(2))[0]
    assert (first.state, first.looks, first.chance(3)) == ("open", (), None)


def test_the_chance_of_a_look_grows_with_seeds() -> None:
    path = look(runs(3, noise=0.02))[1]
    first, last = (path.chance(path.to_come[i]) for i in (0, -1))
    assert first is not None
    assert last is not None
    assert 0 <= first < last <= 1


def test_runs_that_diverge_are_counted() -> None:
    frame = runs(MOST_SEEDS).assign(diverged=0.0)
    frame.loc[frame["variant"] == "sinc", "diverged"] = 1.0
    claim = Claim(says="it diverges", of="sinc", metric="diverged")
    (path,) = follow([claim], frame, SEEDS, "lora", "accuracy", VARIANTS)
    assert path.state == "settled"
    assert path.settled_after is not None
    assert path.settled_after > 3
    (early,) = follow([claim], frame[frame["seed"].isin(SEEDS[:3])], SEEDS, "lora", "accuracy", VARIANTS)
    assert early.state == "open"


@pytest.mark.parametrize("effect", [0.0, SMALLEST, PUBLISHED])
def test_whoever_stops_at_any_look_is_seldom_wrong(effect: float) -> None:
    design = Design(MOST_SEEDS, examples=100, claims=2, effect=effect)
    rates = simulate_sequential(design, 120, give_up=False)
    assert rates.false <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 120)
    each_at_the_whole_level = simulate_sequential(design, 120, looks=dict.fromkeys(LOOKS, 1.0), give_up=False)
    assert each_at_the_whole_level.false > rates.false

"""Methods are checked without a model, known by all of their settings, and can be brought to one size."""

import json

import pytest
from accelerate import init_empty_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import BertConfig, BertModel

from lrlora.studies.errors import StudyError
from lrlora.studies.methods import METHODS, make_method
from lrlora.studies.methods.budgets import adapter_parameters, match_parameters

WITH_A_RANK = sorted(name for name in METHODS.names() if "r" in METHODS.get(name).fields())  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def empty() -> nn.Module:
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=64)
    with init_empty_weights():
        return BertModel(config)


@pytest.mark.parametrize("name", METHODS.names())
def test_what_a_method_resolves_to_is_plain_and_makes_the_same_method(name: str) -> None:
    resolved = make_method({"method": name}, "test").resolved()
    assert json.loads(json.dumps(resolved, allow_nan=False)) == resolved
    assert set(resolved) <= set(METHODS.get(name).fields())  # type: ignore[attr-defined]
    assert make_method({"method": name, **resolved}, "test").resolved() == resolved


def test_runs_of_lora_are_known_as_they_were_before_it_had_rank_allocations() -> None:
    assert make_method({"method": "lora"}, "test").resolved() == {
        "r": 8,
        "lora_alpha": 8.0,
        "lora_dropout": 0.0,
        "target_modules": None,
        "exclude_modules": None,
        "placement": "all",
        "layers": "all",
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
    }
    decaying = make_method({"method": "lora", "rank_allocation": "linear_decay:2"}, "test")
    assert decaying.resolved()["rank_allocation"] == "linear_decay:2"


def test_defaults_that_follow_the_rank_are_resolved_to_numbers() -> None:
    assert make_method({"method": "adalora", "r": 5}, "test").resolved()["init_r"] == 8
    assert make_method({"method": "randlora", "r": 6}, "test").resolved()["randlora_alpha"] == 120


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"method": "verra"}, "did you mean 'vera'?"),
        ({"method": "vera", "rr": 4}, "unknown key 'rr'; did you mean 'r'?"),
        ({"method": "full", "r": 4}, "unknown key 'r'"),
        ({"method": "dora", "r": 0}, "method dora: r: Input should be greater than or equal to 1 (given: 0)"),
        ({"method": "rslora", "use_dora": True}, "unknown key 'use_dora'"),
        ({"method": "pissa", "rank_allocation": "linear_decai"}, "did you mean 'linear_decay'?"),
        ({"method": "loha", "rank_allocation": "empiricall"}, "did you mean 'empirical'?"),
        ({"method": "adalora", "tinit": 0.6, "tfinal": 0.5}, "tinit + tfinal is below 1"),
        ({"method": "adalora", "r": 8, "init_r": 4}, "init_r is at least r"),
        ({"method": "hra", "r": 3}, "4 is the next"),
    ],
)
def test_wrong_settings_are_one_line_that_says_what_and_what_instead(config: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        make_method(config, "mine.yaml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WITH_A_RANK)
def test_the_parameters_of_a_rank_are_matched_by_that_rank(name: str, empty: nn.Module) -> None:
    config = {"method": name, "r": 6}
    parameters = adapter_parameters(config, empty, "test")
    match = match_parameters(config, parameters, empty)
    assert match.parameters == parameters
    assert adapter_parameters(match.config, empty, "test") == parameters


@settings(max_examples=8, deadline=None)
@given(target=st.integers(1, 60_000), name=st.sampled_from(["lora", "lrlora", "miss"]))
def test_no_other_rank_comes_nearer(target: int, name: str) -> None:
    with init_empty_weights():
        model = BertModel(
            BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=8)
        )
    match = match_parameters({"method": name}, target, model)
    r = match.config["r"]
    for other in (r - 1, r + 1):
        if 1 <= other <= (8 if name == "miss" else other):  # MiSS has no rank above the width
            neighbour = adapter_parameters({"method": name, "r": other}, model, "test")
            assert abs(neighbour - target) >= abs(match.parameters - target)


def test_what_scales_with_the_rank_keeps_its_ratio(empty: nn.Module) -> None:
    target = adapter_parameters({"method": "lora", "r": 8}, empty, "test")
    config = match_parameters({"method": "adalora", "r": 2, "init_r": 4}, target, empty).config
    assert config["init_r"] == 2 * config["r"] == 8
    config = match_parameters({"method": "randlora", "r": 8, "randlora_alpha": 40}, target, empty).config
    assert config["randlora_alpha"] == 5 * config["r"]


def test_a_method_without_a_rank_cannot_be_matched(empty: nn.Module) -> None:
    with pytest.raises(StudyError, match="method ia3 has no r"):
        match_parameters({"method": "ia3"}, 1000, empty)


def test_a_size_that_a_method_never_reaches_gives_the_nearest_and_says_its_size(empty: nn.Module) -> None:
    match = match_parameters({"method": "lokr"}, 10**9, empty)
    assert match.parameters == adapter_parameters(match.config, empty, "test") < 10**9
    smallest = match_parameters({"method": "lora"}, 1, empty)
    assert smallest.config["r"] == 1

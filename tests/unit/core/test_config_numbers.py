"""Numbers of any library are taken in every field that holds some, and what is no number is refused."""

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import get_peft_model

from lrlora import LRLoraConfig
from lrlora.bases.options import integer, number
from lrlora.policies import AMPLITUDES, LAYER_CHOICES
from lrlora.policies.amplitudes import Small
from lrlora.policies.layer_choices import FirstLast

# Values that float32 holds.
NUMBERS = {
    "r": 4,
    "lora_alpha": 16,
    "lora_dropout": 0.25,
    "num_grid_points": 8,
    "grid_bound": 2.5,
    "transfer_lr_scale": 0.5,
    "engine_tolerance": 0.125,
    "input_scale": 200,
    "bandwidth_init": 2.0,
}
WITHIN = {
    "rank_pattern": {"a": 3},
    "alpha_pattern": {"a": 12.5},
    "layers": [0, 2],
    "layers_to_transform": [1],
    "basis_kwargs": {"degree": 2},
}
KINDS = [np.int64, np.float64, np.float32, np.array, torch.tensor, lambda value: torch.tensor(value).bfloat16()]


def wrapped(value: Any, kind: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: wrapped(item, kind) for key, item in value.items()}
    if isinstance(value, list):
        return [wrapped(item, kind) for item in value]
    return value if kind is np.int64 and value != int(value) else kind(value)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list | set):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


@given(field=st.sampled_from(sorted(NUMBERS | WITHIN)), kind=st.sampled_from(KINDS))
def test_a_number_of_another_library_is_that_number(field: str, kind: Callable[[Any], Any]) -> None:
    value = (NUMBERS | WITHIN)[field]
    made = LRLoraConfig(basis="bspline", **{field: wrapped(value, kind)})
    assert made == LRLoraConfig(basis="bspline", **{field: value})
    assert {type(leaf) for leaf in leaves(getattr(made, field))} <= {int, float}
    assert json.loads(json.dumps(made.to_dict()))[field] == value


def test_whole_arrays_and_flags_of_numpy_are_taken_and_what_is_set_later_is_saved() -> None:
    config = LRLoraConfig(layers=np.arange(3), layers_to_transform=torch.tensor([0, 2]), learn_bandwidth=np.True_)
    config.r = np.int64(3)
    saved = json.loads(json.dumps(config.to_dict()))
    assert [saved[name] for name in ("layers", "layers_to_transform", "learn_bandwidth", "r")] == [
        [0, 1, 2], [0, 2], True, 3
    ]  # fmt: skip


def test_policies_made_of_such_numbers_are_saved() -> None:
    config = LRLoraConfig(amplitude_init=Small(np.float32(0.5)), layers=FirstLast(np.int64(2)))
    assert (config.to_dict()["amplitude_init"], config.to_dict()["layers"]) == ("small:0.5", "first_last:2")
    assert AMPLITUDES.create("small:0.5") == Small(torch.tensor(0.5))
    assert LAYER_CHOICES.create(np.arange(2)) == LAYER_CHOICES.create([0, 1])


def test_an_adapter_of_such_numbers_is_made_and_runs() -> None:
    config = LRLoraConfig(
        r=np.int64(2), lora_alpha=torch.tensor(4.0), input_scale=np.float64(200.0), target_modules="0"
    )
    model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(4, 4)), config)
    assert model(torch.randn(3, 4)).isfinite().all()


@pytest.mark.parametrize("field", sorted(NUMBERS))
@pytest.mark.parametrize("value", [True, np.True_, math.nan, math.inf, np.float32("nan"), "8", [8], 2j], ids=repr)
def test_what_is_no_finite_number_is_refused_in_one_line(field: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError)) as refused:
        LRLoraConfig(**{field: value})
    assert field in str(refused.value)
    assert "\n" not in str(refused.value)


@given(value=st.one_of(st.floats(), st.integers(), st.text(), st.booleans(), st.none()))
def test_a_number_is_taken_exactly_where_it_is_within_the_bounds(value: Any) -> None:
    if type(value) in (int, float) and 0 <= value < 7:
        assert number("x", value, least=0, below=7) == value
        assert integer("x", math.floor(value), least=0) == math.floor(value)
    else:
        with pytest.raises(ValueError, match=r"^x must be .*>= 0 and < 7, got "):
            number("x", value, least=0, below=7)

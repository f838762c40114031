"""The notation "name:argument,…" reads back what it writes, or refuses to write."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlora.registry import format_spec, parse_spec


@dataclass(frozen=True)
class Policy:
    first: Any = 0.01
    second: Any = "uniform"
    made: int = field(init=False, default=3)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(),
    st.text(max_size=8),
    st.from_regex(r"[a-z_]+", fullmatch=True),
)


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("uniform", ("uniform", [])),
        (" uniform ", ("uniform", [])),
        ("uniform:", ("uniform", [])),
        ("first_last:2", ("first_last", [2])),
        ("small : 0.02 , uniform", ("small", [0.02, "uniform"])),
        ("scale:1e-3,-2,True,None", ("scale", [1e-3, -2, True, None])),
        ("named:'3'", ("named", ["3"])),
        ("path:a:b", ("path", ["a:b"])),
        ("odd:a b,{[]:1},1+,(", ("odd", ["a b", "{[]:1}", "1+", "("])),
        ("", ("", [])),
    ],
)
def test_specs_that_are_read(spec: str, parsed: tuple[str, list[Any]]) -> None:
    assert parse_spec(spec) == parsed


@given(st.text())
def test_any_text_is_read_as_something(text: str) -> None:
    name, arguments = parse_spec(text)
    assert name == name.strip()
    assert ":" not in name
    assert isinstance(arguments, list)


@given(VALUES, VALUES)
def test_what_is_written_reads_back_as_the_same_values(first: Any, second: Any) -> None:
    policy = Policy(first, second)
    try:
        spec = format_spec("small", policy)
    except TypeError:
        return
    name, arguments = parse_spec(spec)
    assert name == "small"
    assert Policy(*arguments) == policy


@given(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.from_regex(r"[a-z_]{3,}x", fullmatch=True),
)
def test_plain_values_are_always_written(whole: int, real: float, truth: bool, word: str) -> None:
    for value in (whole, real, truth, word):
        assert format_spec("small", Policy(value, "last")).startswith("small:")


def test_trailing_defaults_are_left_out() -> None:
    assert format_spec("small", Policy()) == "small"
    assert format_spec("small", Policy(0.5)) == "small:0.5"
    assert format_spec("small", Policy(0.01, "random")) == "small:0.01,random"


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "a,b", "3", "True", " padded", "", [1, 2], (1, 2)])
def test_a_value_that_would_read_back_differently_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be written down"):
        format_spec("small", Policy(value))


def test_a_keyword_only_value_is_refused_unless_it_is_the_default() -> None:
    @dataclass
    class Keyword:
        first: int = 1
        only: int = field(default=2, kw_only=True)

    assert format_spec("k", Keyword(5)) == "k:5"
    with pytest.raises(TypeError, match="no place for the keyword 'only'"):
        format_spec("k", Keyword(5, only=3))


def test_what_is_no_dataclass_is_refused() -> None:
    with pytest.raises(TypeError, match="float is not a dataclass"):
        format_spec("small", 0.5)

"""What an unknown name is taken to have meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlora.registry import closest

NAMES = ["sinc", "gaussian", "bspline", "fourier", "polynomial"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("gausian", "gaussian"), ("SINC", "sinc"), ("b-spline", "bspline"), ("fouriers", "fourier"), ("xyz", None)],
)
def test_a_slip_of_the_finger_is_seen_through(typed: str, meant: str | None) -> None:
    assert closest(typed, NAMES) == meant


@given(st.text(), st.lists(st.text()))
def test_the_closest_is_one_of_the_candidates_and_an_exact_match_wins(name: str, candidates: list[str]) -> None:
    found = closest(name, candidates)
    assert found is None or found in candidates
    if name and name.islower():
        assert closest(name, [*candidates, name]) in {name, *(c for c in candidates if c.lower() == name)}

"""Every built-in basis keeps the laws of rank relaxation, at any draw; the laws that say nothing of it say why."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrlora.bases import BASES
from lrlora.bases.bspline import BSpline
from lrlora.testing import NotApplicableError, parametrize_with_checks
from lrlora.testing.laws import (
    LAWS,
    Laws,
    law_full_rank,
    law_period,
    law_permutation,
    law_tied,
    laws_of,
    run_laws,
)

COMPOSED = {
    "product": BASES.create("sinc") * BASES.create("gaussian"),
    "scaled": 2.0 * BASES.create("bspline"),
    "sum": BASES.create("sinc") + BASES.create("fourier"),
}
BUILT_IN = {
    entry.name: COMPOSED[entry.name] if entry.name in COMPOSED else BASES.create(entry.name)
    for entry in BASES
    if entry.origin == "built-in"
}
DRAWN = [law for law in LAWS if law not in (law_tied, law_full_rank)]


@pytest.mark.parametrize("law", DRAWN, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", BUILT_IN)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31))
def test_a_built_in_basis_keeps_every_law_at_any_draw(name: str, law, seed: int) -> None:
    with suppress(NotApplicableError):  # which laws say nothing of which basis is in docs/laws.md
        law(BUILT_IN[name], seed=seed)


@settings(max_examples=6)
@given(seed=st.integers(0, 2**31), degree=st.integers(1, 5))
def test_bsplines_of_other_degrees_keep_them_too(seed: int, degree: int) -> None:
    for law in DRAWN:
        try:
            law(BSpline(degree), seed=seed)
        except NotApplicableError:
            assert law.__name__ in ("law_degree", "law_period", "law_differences")


@parametrize_with_checks([Laws(basis) for basis in BUILT_IN.values()])
def test_the_laws_are_checks(check) -> None:
    if check.check.name in ("law_tied", "law_full_rank"):  # the others have their draws above
        check()


def test_what_says_nothing_of_a_basis_is_listed_with_the_reason() -> None:
    outcomes = {outcome.check: outcome for outcome in run_laws(BASES.create("fourier"))}
    assert list(outcomes) == [law.__name__ for law in LAWS]
    assert outcomes["law_support"].status == "not applicable"
    assert "does not say that it has a support" in outcomes["law_support"].message
    # A harmonic is known by its index alone, so harmonics cannot change places.
    assert "index of a function" in outcomes["law_permutation"].message
    with pytest.raises(NotApplicableError):
        law_permutation(BASES.create("polynomial"))
    with pytest.raises(NotApplicableError):
        law_period(BASES.create("sinc"))


def test_every_law_says_what_it_is_in_one_line() -> None:
    for check in laws_of(BASES.create("sinc")):
        assert check.about.endswith("."), check.name

"""What a study will test is said before it runs, and names variants that are there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.cells import check_comparisons, expand_comparisons
from lrlora.studies.spec.claims import Claim, matching, pairs
from lrlora.studies.spec.study import Study

NAMES = ["lora,r=4", "lora,r=8", "lrlora,r=4", "lrlora,r=8", "frozen"]


def study(**fields: Any) -> Study:
    return Study.from_dict({"name": "tiny", "base": {"method": "lrlora"}} | fields)


@given(st.lists(st.text(max_size=6), unique=True))
def test_a_literal_name_matches_itself_alone(found: list[str]) -> None:
    for name in found:
        assert matching(name, found) == {"": name}


def test_a_star_stands_for_the_same_text_on_both_sides() -> None:
    assert pairs("lrlora,r=*", "lora,r=*", NAMES) == [
        ("4", "lrlora,r=4", "lora,r=4"),
        ("8", "lrlora,r=8", "lora,r=8"),
    ]


def test_a_claim_is_about_variants_that_are_there() -> None:
    along = Claim(says="x", kind="trend", of="lrlora,r=*", against="lora,r=*")
    assert along.is_about(NAMES, None)
    assert not along.is_about(["lora,r=4", "lrlora,r=8"], None)
    assert Claim(says="x", of="frozen").is_about(NAMES, "lora,r=4")
    assert not Claim(says="x", of="frozen").is_about(NAMES, "dora")
    weighed = Claim(says="x", kind="contrast", weights={"lora,r=4": 1, "frozen": -1})
    assert weighed.is_about(NAMES, None)
    assert not weighed.is_about(NAMES[:-1], None)


def test_by_default_every_variant_is_tested_against_the_reference() -> None:
    assert expand_comparisons(study(reference="frozen"), NAMES) == [(name, "frozen") for name in NAMES[:-1]]


def test_declared_comparisons_are_the_family_and_none_is_there_twice() -> None:
    declared = [{"of": "lrlora,r=*", "against": "lora,r=*"}, {"of": "lrlora,r=4", "against": "lora,r=4"}]
    assert expand_comparisons(study(comparisons=declared), NAMES) == [
        ("lrlora,r=4", "lora,r=4"),
        ("lrlora,r=8", "lora,r=8"),
    ]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"comparisons": [{"of": "lrlora,r=4", "against": "lora,r=44"}]}, "did you mean 'lora,r=4'?"),
        ({"claims": [{"says": "x", "of": "froze", "against": "lora,r=4"}]}, "did you mean 'frozen'?"),
        (
            {"claims": [{"says": "x", "kind": "contrast", "weights": {"frozn": 1, "lora,r=4": -1}}]},
            "did you mean 'frozen'?",
        ),
        ({"claims": [{"says": "x", "of": "lrlora,*", "against": "lo*"}]}, "no variant fits both"),
    ],
)
def test_a_name_that_is_no_variant_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(StudyError) as caught:
        check_comparisons(study(**fields), NAMES)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        ({"says": "x", "of": "a", "kind": "equivalence"}, "need a margin"),
        ({"says": "x", "of": "a", "kind": "at_most"}, "need a margin"),
        ({"says": "x", "of": "a", "margin": 0.01}, "no other kind has one"),
        ({"says": "x", "of": "a", "kind": "trend"}, "a trend needs a *"),
        ({"says": "x", "kind": "contrast"}, "a contrast has weights"),
        ({"says": "x", "weights": {"a": 1}}, "every other kind has 'of'"),
        ({"says": "x", "of": "a**", "against": "b"}, "one * at most"),
        ({"says": "x", "of": "a", "against": "b*"}, "needs one too"),
        ({"says": "x", "off": "a"}, "did you mean 'of'?"),
    ],
)
def test_a_claim_that_cannot_be_decided_is_refused(claim: dict[str, Any], says: str) -> None:
    with pytest.raises(StudyError) as caught:
        study(claims=[claim])
    assert says in str(caught.value)

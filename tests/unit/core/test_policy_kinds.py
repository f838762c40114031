"""A kind of policy is described once, and what is described is there."""

from dataclasses import fields
from typing import Any

import pytest

import lrlora.testing
from lrlora import LRLoraConfig
from lrlora.policies import BANDWIDTHS, GRIDS, KINDS, LAYER_CHOICES, PolicyKind
from lrlora.policies.bandwidths import Constant
from lrlora.policies.layer_choices import Indices
from lrlora.registry import DuplicateNameError


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_its_field_its_default_and_its_check_are_there(kind: PolicyKind[Any]) -> None:
    found = {field.name: field for field in fields(LRLoraConfig)}[kind.field]
    assert (found.default, found.metadata["help"]) == (kind.default, kind.about)
    assert callable(getattr(lrlora.testing, kind.check))
    assert all(entry.origin == "built-in" for entry in kind if entry.target.startswith("lrlora."))


def test_a_plain_value_that_is_no_spec_is_short_for_a_policy() -> None:
    assert BANDWIDTHS.create(2) == Constant(2)
    assert LAYER_CHOICES.create((0, 3)) == Indices("0+3")
    with pytest.raises(TypeError, match="a grid is a name or an instance of Grid, not int 2"):
        GRIDS.create(2)


def test_a_name_that_is_built_in_cannot_be_taken(forgetting: None) -> None:
    with pytest.raises(DuplicateNameError, match=r"lrlora\.policies\.grids:Uniform"):

        @GRIDS.register("uniform")
        class Other:
            pass

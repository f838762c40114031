"""Axes multiply, zip and depend on one another; and what cannot be multiplied is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.axes import Axis, expand_axes
from lrlora.studies.spec.cells import expand_cells, expand_variants
from lrlora.studies.spec.study import Study


def study(**fields: Any) -> Study:
    base = {"name": "tiny", "base": {"method": "lrlora"}, "seeds": [1], "budgets": {"smoke": {"steps": 2}}}
    return Study.from_dict(base | fields).resolve("smoke")


def names(**fields: Any) -> list[str]:
    return [variant.name for variant in expand_variants(study(**fields))]


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=4, unique=True), min_size=1, max_size=4))
def test_plain_axes_multiply(values: list[list[int]]) -> None:
    axes = {f"a{i}": Axis(values=found) for i, found in enumerate(values)}
    product = expand_axes(axes, {})
    count = 1
    for found in values:
        count *= len(found)
    assert len(product) == count == len({tuple(one.items()) for one in product})


def test_zipped_settings_go_together_and_the_first_names_the_variant() -> None:
    axes = {"r, lora_alpha": [[2, 4], [8, 16]]}
    variants = expand_variants(study(axes=axes))
    assert [variant.name for variant in variants] == ["r=2", "r=8"]
    assert [(v.config["r"], v.config["lora_alpha"]) for v in variants] == [(2, 4), (8, 16)]


def test_a_conditional_axis_varies_only_where_its_condition_holds() -> None:
    degree = {"values": [1, 3], "when": {"basis": "bspline"}}
    axes = {"basis": ["sinc", "bspline"], "basis_kwargs.degree": degree}
    assert names(axes=axes) == ["sinc", "basis=bspline,basis_kwargs.degree=1", "basis=bspline,basis_kwargs.degree=3"]
    variants = {variant.name: variant.config for variant in expand_variants(study(axes=axes))}
    assert variants["basis=bspline,basis_kwargs.degree=3"]["basis_kwargs"] == {"degree": 3}
    assert variants["sinc"]["basis_kwargs"] == {}


def test_a_condition_may_be_on_the_base() -> None:
    axes = {"r": {"values": [2, 4], "when": {"method": ["lora", "lrlora"]}}}
    assert names(axes=axes) == ["r=2", "r=4"]
    assert names(axes=axes, base={"method": "frozen"}, baselines={"lora": {"method": "lora"}}) == ["frozen", "lora"]


def test_every_variant_meets_every_task_and_backbone() -> None:
    cells = expand_cells(study(axes={"r": [2, 4]}, task=["sarcasm", {"name": "files", "train": "a"}], seeds=[1, 2]))
    assert len(cells) == 2 * 2 * 2
    assert {cell.label for cell in cells if cell.seed == 1 and cell.variant.name == "r=2"} == {
        "r=2 on sarcasm seed 1",
        "r=2 on files(train=a) seed 1",
    }


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"axes": {"r, lora_alpha": [[2, 4], [8]]}}, "axis 'r, lora_alpha' zips 2 settings"),
        ({"axes": {"r": [1], "r,lora_alpha": [[2, 4]]}}, "r is on two axes"),
        ({"axes": {"r": [1, 1]}}, "the value 1 is given twice"),
        ({"axes": {"r": {"values": [1], "when": {"basis": "sinc"}}, "basis": ["sinc"]}}, "has to stand before it"),
        ({"axes": {"r": {"values": [1], "if": {}}}}, "unknown key 'if'"),
        ({"task": ["sarcasm", "sarcasm"]}, "a task is given twice"),
        ({"backbone": []}, "backbone is an empty list"),
        ({"axes": {"basis.degree": [1]}, "base": {"method": "lrlora", "basis": "sinc"}}, "basis is 'sinc'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(StudyError) as caught:
        expand_variants(study(**fields))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)

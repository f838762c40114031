"""Cells: what they are of, what their hash stands for, and which designs are refused."""

from __future__ import annotations

from typing import Any

import pytest

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.cells import expand_cells, expand_variants
from lrlora.studies.spec.study import Study


def study(**changes: Any) -> Study:
    plain: dict[str, Any] = {"name": "tiny", "base": {"method": "lora"}, "axes": {"r": [1, 2]}, "seeds": [1, 2]}
    return Study.from_dict(plain | changes)


def ids(**changes: Any) -> set[str]:
    return {cell.id for cell in expand_cells(study(**changes))}


def test_cells_are_variants_times_seeds_and_a_seed_is_whole_before_the_next() -> None:
    cells = expand_cells(study(baselines={"floor": {"method": "frozen"}}))
    assert [cell.label for cell in cells] == [
        "r=1 seed 1",
        "r=2 seed 1",
        "floor seed 1",
        "r=1 seed 2",
        "r=2 seed 2",
        "floor seed 2",
    ]


def test_axes_make_a_product_and_variants_join_it() -> None:
    found = expand_variants(study(axes={"r": [1, 2], "placement": ["all", "mlp"]}, variants={"big": {"r": 64}}))
    assert [variant.name for variant in found] == [
        "r=1,placement=all",
        "r=1,placement=mlp",
        "r=2,placement=all",
        "r=2,placement=mlp",
        "big",
    ]
    assert found[1].axes == {"r": 1, "placement": "mlp"}
    assert (found[4].config["method"], found[4].config["r"]) == ("lora", 64)
    assert found[4].config["lora_dropout"] == 0.0, "defaults are part of what a run is known by"


def test_the_key_of_the_settings_is_stable() -> None:
    """A change here orphans every record that users have: it takes a reason."""
    assert expand_cells(study())[0].key == "b184a92f38c1"


def test_the_id_knows_what_changes_the_numbers_and_nothing_else() -> None:
    before = ids()
    assert ids(name="other", question="?", paper={"table": 1}, budgets={"x": {}}) == before
    assert ids(axes={}, variants={"one": {"r": 1}, "two": {"r": 2}}) == before, "names are not part of it"
    for change in (
        {"seeds": [3, 4]},
        {"backbone": "other"},
        {"task": {"name": "files", "train": "x.csv"}},
        {"training": {"learning_rate": 2e-3}},
        {"training": {"train_examples": 10}},
        {"base": {"method": "lora", "lora_alpha": 3}},
    ):
        assert not ids(**change) & before, change


def test_more_seeds_and_more_variants_leave_the_others_as_they_are() -> None:
    assert ids() < ids(seeds=[1, 2, 3])
    assert ids() < ids(axes={"r": [1, 2, 4]})


def test_a_variant_may_be_trained_in_its_own_way() -> None:
    tuned = {"lora": {"method": "lora", "r": 9, "training": {"learning_rate": 4e-3}}}
    found = {variant.name: variant for variant in expand_variants(study(baselines=tuned))}
    assert found["lora"].training.learning_rate == 4e-3
    assert found["r=1"].training.learning_rate == 1e-3
    assert "training" not in found["lora"].config
    rates = expand_variants(study(axes={"training.learning_rate": [1e-3, 2e-3]}))
    assert [(variant.name, variant.training.learning_rate) for variant in rates] == [
        ("learning_rate=0.001", 1e-3),
        ("learning_rate=0.002", 2e-3),
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"baselines": {"r=1": {"method": "frozen"}}}, "two variants are called 'r=1'"),
        ({"baselines": {"same": {"method": "lora", "r": 1}}}, "'r=1' and 'same' are the same configuration"),
        ({"base": {"method": "lora", "r": 4}}, "base.r has no effect, since r is an axis; set axes.r="),
        ({"reference": "r=3"}, "unknown variant 'r=3'; did you mean"),
        ({"base": {}}, "says no method"),
        ({"axes": {"training.lr": [1]}}, "training: unknown key 'lr'"),
        ({"base": {"method": "lora", "training": 3}}, "training holds keys and values"),
        (
            {"base": {"method": "lora", "lora_alpha": float("inf")}},
            "names, finite numbers, and lists of them are wanted",
        ),
    ],
)
def test_a_design_that_compares_nothing_sensible_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(StudyError) as caught:
        expand_cells(study(**changes))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)

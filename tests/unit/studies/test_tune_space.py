"""A space holds only what its variant takes, whatever is drawn; what cannot be is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrlora.studies.errors import StudyError
from lrlora.studies.methods import METHODS, make_method
from lrlora.studies.search.declaration import declare
from lrlora.studies.search.pruning import PAIRS_TO_ACT, choose_pruner, describe_pruner
from lrlora.studies.search.space import Dimension, default_space, make_space, read_space
from lrlora.studies.search.subject import Subject, make_subject, settings_at
from lrlora.studies.spec.cells import expand_variants
from lrlora.studies.spec.study import Study

RATE = {"low": 1e-4, "high": 1e-2, "log": True}
TRAINING: dict[str, Any] = {"test_examples": 0, "steps": 4}


def study(**fields: Any) -> Study:
    base: dict[str, Any] = {
        "name": "tiny",
        "base": {"method": "lrlora", "r": 2},
        "axes": {"basis": ["sinc", "bspline"]},
        "baselines": {"lora": {"method": "lora", "r": 2}},
        "reference": "lora",
        "seeds": [1],
        "budgets": {"smoke": {}},
    }
    return Study.from_dict(base | fields).resolve("smoke")


def subject(space: dict[str, Any] | None = None, name: str = "sinc", **fields: Any) -> Subject:
    declared = None if space is None else make_space(space, "space")
    return make_subject(study(**fields), name, declared, [7], TRAINING)


def draw(one: Subject, seed: int) -> dict[str, Any]:
    """Settings from everywhere in the space, with its conditions."""
    sampler = optuna.samplers.RandomSampler(seed=seed)
    trial = optuna.create_study(sampler=sampler).ask()
    drawn: dict[str, Any] = {}
    for setting, dimension in one.space.items():
        if dimension.applies(one.defaults | drawn):
            drawn[setting] = dimension.suggest(trial, setting, one.defaults.get(setting))
    return drawn


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**31), method=st.sampled_from(sorted(entry.name for entry in METHODS)))
def test_every_point_of_every_default_space_is_a_configuration_that_the_method_takes(seed: int, method: str) -> None:
    one = subject(name="it", axes={}, base={"method": method}, variants={"it": {}}, baselines={}, reference=None)
    drawn = draw(one, seed)
    variant = one.variant(drawn)
    make_method(variant.config, "here")
    assert settings_at(variant) | drawn == settings_at(variant)


@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(1e-6, 1e3),
    factor=st.floats(1.01, 1e6),
    log=st.booleans(),
    seed=st.integers(0, 2**31),
    whole=st.booleans(),
)
def test_what_is_drawn_lies_within_the_interval(low: float, factor: float, log: bool, seed: int, whole: bool) -> None:
    ends = (float(round(low) + 1), float(round(low) + 1 + round(factor) + 1)) if whole else (low, low * factor)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    drawn = Dimension(low=ends[0], high=ends[1], log=log).suggest(trial, "x", 50 if whole else 0.5)
    assert ends[0] <= drawn <= ends[1] or drawn == pytest.approx(ends[0]) or drawn == pytest.approx(ends[1])
    assert isinstance(drawn, int) == whole


@given(
    values=st.lists(st.one_of(st.integers(), st.text(), st.booleans(), st.lists(st.integers())), min_size=1, max_size=5)
)
def test_a_list_gives_back_each_of_its_values_as_it_was_written(values: list[Any]) -> None:
    try:
        dimension = Dimension(values=values)
    except ValueError:
        return  # a value twice
    distribution = dimension.distribution(None)
    assert isinstance(distribution, optuna.distributions.CategoricalDistribution)
    trials: list[Any] = [optuna.trial.FixedTrial({"x": choice}) for choice in distribution.choices]
    assert [dimension.suggest(trial, "x", None) for trial in trials] == values


def test_the_untuned_variant_is_among_the_choices() -> None:
    assert Dimension(values=[16, 64]).choices(50) == [16, 50, 64]
    assert Dimension(values=["small:0.02"]).choices("zero") == ["zero", "small:0.02"]
    assert Dimension(values=[16, 50]).choices(50) == [16, 50]


def test_a_conditional_setting_is_tried_only_where_it_applies() -> None:
    space = {
        "amplitude_init": ["zero", "small:0.01"],
        "bandwidth_init": {"low": 0.5, "high": 2.0, "when": {"amplitude_init": "small:0.01"}},
    }
    one = subject(space)
    seen = {("bandwidth_init" in drawn, drawn["amplitude_init"]) for drawn in (draw(one, seed) for seed in range(20))}
    assert seen == {(True, "small:0.01"), (False, "zero")}


def test_settings_that_a_method_lacks_are_left_out_of_its_space() -> None:
    space = {"training.learning_rate": RATE, "input_scale": {"low": 10, "high": 1000, "log": True}}
    assert list(subject(space).space) == ["training.learning_rate", "input_scale"]
    assert list(subject(space, "lora").space) == ["training.learning_rate"]


def test_only_what_differs_between_variants_is_held() -> None:
    learning = subject(axes={"training.learning_rate": [1e-3, 2e-3]}, name="learning_rate=0.001")
    assert "training.learning_rate" not in learning.space
    assert "input_scale" in learning.space
    assert "amplitude_init" not in subject(name="b", variants={"b": {"amplitude_init": "zero"}}, axes={}).space


def test_the_search_sees_its_own_seeds_and_no_test_split() -> None:
    one = subject(training={"steps": 30, "test_examples": 50}, seeds=[1, 2])
    cells = one.cells({"training.learning_rate": 3e-3})
    assert [(cell.seed, cell.variant.training.test_examples, cell.variant.training.steps) for cell in cells] == [
        (7, 0, 4)
    ]
    assert cells[0].variant.training.learning_rate == 3e-3


def test_a_tuned_grid_takes_the_rate_that_goes_with_it() -> None:
    """The preset's rate of θ goes as 1/N: a trial at another N is trained as the tuned study will be."""
    tuned = study(tuned={"sinc": {"num_grid_points": 100}})
    (wanted,) = [variant for variant in expand_variants(tuned) if variant.name == "sinc"]
    assert subject().variant({"num_grid_points": 100}).config == wanted.config
    assert wanted.config["transfer_lr_scale"] == pytest.approx(0.05)


def test_the_default_space_of_a_baseline_is_its_learning_rate() -> None:
    assert list(default_space("lora")) == ["training.learning_rate"]
    assert set(default_space("lrlora")) > set(default_space("lora"))


@pytest.mark.parametrize(
    ("dimension", "says"),
    [
        ({"low": 1, "high": 1}, "low is 1, which is not below high, 1"),
        ({"low": 2, "high": 1}, "low is 2, which is not below high, 1"),
        ({"low": 0, "high": 1, "log": True}, "log needs a low above 0, not 0"),
        ({"low": -1, "high": 1, "log": True}, "log needs a low above 0, not -1"),
        ({"low": 1}, "high is missing"),
        ({}, "takes either low and high, or values"),
        ({"low": 1, "high": 2, "values": [1]}, "takes either low and high, or values"),
        ([], "takes either low and high, or values"),
        ([1, 1], "the value 1 is given twice"),
        ({"values": [1], "log": True}, "log goes with low and high"),
        ({"lw": 1, "high": 2}, "unknown key 'lw'; did you mean 'low'?"),
        (3, "input_scale: the whole: keys and values are wanted"),
    ],
)
def test_a_dimension_that_cannot_be_is_refused_in_one_line(dimension: Any, says: str) -> None:
    with pytest.raises(StudyError) as caught:
        make_space({"input_scale": dimension}, "space")
    assert says in str(caught.value)
    assert str(caught.value).startswith("space: input_scale")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("space", "fields", "says"),
    [
        ({"basis": ["sinc"]}, {}, "basis is what sets this variant apart"),
        ({"placement": ["all", "nowhere"]}, {}, "'nowhere' cannot be"),
        ({"basis_kwargs": {"low": 1, "high": 2}}, {}, "low and high mean nothing; give values"),
        ({"r": {"low": 0, "high": 4}}, {}, "r: 0 cannot be"),
    ],
)
def test_a_space_that_a_variant_cannot_take_is_refused(space: Any, fields: Any, says: str) -> None:
    with pytest.raises(StudyError) as caught:
        subject(space, **fields)
    assert says in str(caught.value)


def test_a_space_with_nothing_for_a_variant_is_refused() -> None:
    with pytest.raises(StudyError, match=r"space of lora: nothing is left to tune; .* method lora has none"):
        subject({"input_scale": RATE}, "lora")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"trials": 0}, "--trials 0: at least 1"),
        ({"variants": ["sync"]}, "unknown variant 'sync'; did you mean 'sinc'?"),
        ({"pruner": "wilcoxn"}, "unknown pruner 'wilcoxn'; did you mean 'wilcoxon'?"),
        ({"overrides": ["tune.seeds=[42]"]}, "tune.seeds has 42, which is a seed of the study"),
        ({"budget": "quik"}, "did you mean 'quick'?"),
        ({"space": make_space({"num_grid_point": [16]}, "space")}, "did you mean 'num_grid_points'?"),
        ({"space": make_space({"training.learning_rte": RATE}, "space")}, "did you mean 'training.learning_rate'?"),
        (
            {"space": make_space({"r": {"values": [2], "when": {"bases": "sinc"}}}, "space")},
            "space: r: when: unknown key 'bases'; did you mean 'basis'?",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused(arguments: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"source": "basis", "variants": ["sinc"]} | arguments
    with pytest.raises(StudyError) as caught:
        declare(**given)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_means_every_variant_and_baseline_with_the_same_seeds_and_steps() -> None:
    chosen = declare("basis", ["all"], overrides=["tune.steps=9"])
    assert [one.name for one in chosen.subjects] == ["sinc", "gaussian", "bspline", "fourier", "polynomial", "lora"]
    assert {tuple(one.study.seeds) for one in chosen.subjects} == {(7, 8)}
    assert {one.default.training.steps for one in chosen.subjects} == {9}


def test_a_space_is_read_from_a_file_and_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("space:\n  training.learning_rate: {low: 1e-4, high: 1e-2, log: true}\n  r: [2, 4]\n")
    space = read_space(path, ["space.num_grid_points=[16, 32]", "space.r=[8]"])
    assert space is not None
    assert list(space) == ["training.learning_rate", "r", "num_grid_points"]
    assert space["r"].values == [8]
    assert space["training.learning_rate"].low == 1e-4
    assert read_space(None) is None
    path.write_text("spce: {}\n")
    with pytest.raises(StudyError, match="did you mean 'space'"):
        read_space(path)


def test_a_condition_has_to_stand_before_what_depends_on_it() -> None:
    with pytest.raises(StudyError, match="r: depends on placement, which has to stand before it"):
        make_space({"r": {"values": [1], "when": {"placement": "all"}}, "placement": ["all"]}, "space")


def test_the_default_pruner_is_one_that_can_act() -> None:
    assert choose_pruner(PAIRS_TO_ACT) == "none"
    assert choose_pruner(PAIRS_TO_ACT + 1) == "wilcoxon"
    assert "has no effect" in describe_pruner("wilcoxon", PAIRS_TO_ACT)

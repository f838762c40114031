"""Declared studies: what they say, what they refuse, and in which order settings win."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lrlora.studies.catalog import catalog_names
from lrlora.studies.errors import StudyError
from lrlora.studies.spec.cells import expand_cells, expand_variants
from lrlora.studies.spec.overrides import parse_overrides, parse_yaml
from lrlora.studies.spec.study import Study

BASE: dict[str, Any] = {
    "name": "tiny",
    "base": {"method": "lora"},
    "axes": {"r": [1, 2]},
    "baselines": {"floor": {"method": "frozen"}},
    "seeds": [1, 2],
    "training": {"steps": 50},
    "budgets": {"smoke": {"steps": 3, "seeds": [7]}, "full": {}},
}


def tiny(**changes: Any) -> Study:
    return Study.from_dict(BASE | changes)


@pytest.mark.parametrize("name", catalog_names())
def test_every_study_of_the_catalog_expands_at_every_budget(name: str) -> None:
    study = Study.load(name)
    assert {"smoke", "quick", "full"} <= set(study.budgets)
    for budget in study.budgets:
        cells = expand_cells(study.resolve(budget))
        assert len({cell.id for cell in cells}) == len(cells)


def test_the_basis_study_is_what_the_paper_asks() -> None:
    study = Study.load("basis").resolve("quick")
    names = [variant.name for variant in expand_variants(study)]
    assert names == ["sinc", "gaussian", "bspline", "fourier", "polynomial", "lora"]
    assert len(study.seeds) >= 3
    assert study.reference == "lora"
    assert set(study.paper["values"]) == set(names)
    assert len({variant.config["r"] for variant in expand_variants(study)}) == 1, "compared at one rank"


def test_settings_win_in_the_order_default_file_budget_set() -> None:
    assert Study.from_dict({"name": "x"}).training.steps == 100
    assert tiny().training.steps == 50
    assert tiny().resolve("smoke").training.steps == 3
    assert tiny().resolve("full").training.steps == 50
    told = Study.from_dict(BASE, ["training.steps=9", "seeds=[5]"]).resolve("smoke")
    assert (told.training.steps, told.seeds) == (9, [5])


def test_a_mapping_of_overrides_is_as_good_as_lines() -> None:
    assert Study.from_dict(BASE, {"base.r": 8}) == Study.from_dict(BASE, ["base.r=8"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bugets": {}}, "unknown key 'bugets'; did you mean 'budgets'?"),
        ({"training": {"learning_rat": 1}}, "training: unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        ({"training": {"steps": 0}}, "training.steps"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate"),
        ({"budgets": {"smoke": {"stepz": 1}}}, "budgets.smoke: unknown key 'stepz'; did you mean 'steps'?"),
        ({"budgets": {"smoke": {"steps": "many"}}}, "budgets.smoke: steps"),
        ({"metric": {"name": "accuracy", "direction": "up"}}, "metric.direction"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "a seed is given twice"),
        ({"seeds": [-1]}, "seeds lie between"),
        ({"axes": {"r": []}}, "axis 'r' has no values"),
        ({"name": "a b"}, "name"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(StudyError) as caught:
        tiny(**changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("steps=1", "did you mean 'training.steps'?"),
        ("trainig.steps=1", "did you mean 'training'?"),
        ("training.step=1", "did you mean 'steps'?"),
        ("training", "expected key=value"),
        ("=1", "expected key=value"),
        ("training.steps=[1", "not valid YAML"),
        ("name.first=x", "which holds no keys"),
    ],
)
def test_a_wrong_override_is_refused_with_what_was_meant(line: str, says: str) -> None:
    with pytest.raises(StudyError) as caught:
        Study.from_dict(BASE, [line])
    assert says in str(caught.value)


def test_values_of_overrides_are_yaml_and_may_hold_an_equals_sign() -> None:
    assert parse_overrides(["a=1e-3", "b=[x, 2]", "c=true", "d=x=y", "e="]) == {
        "a": 1e-3,
        "b": ["x", 2],
        "c": True,
        "d": "x=y",
        "e": None,
    }


def test_a_yaml_file_makes_plain_data_only() -> None:
    with pytest.raises(StudyError, match="is not one of plain data"):
        parse_yaml("!!python/object/apply:os.getcwd []", "evil.yaml")


def test_a_file_is_loaded_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\naxes: {basis: [sinc]}\nbudgets: {smoke: {steps: 2}}\n")
    assert Study.load(path).name == "mine"
    assert Study.load(str(path), ["base.r=3"]).base["r"] == 3
    with pytest.raises(StudyError, match=r"gone\.yaml: No such file"):
        Study.load(tmp_path / "gone.yaml")
    path.write_text("- a list\n")
    with pytest.raises(StudyError, match="not keys and values"):
        Study.load(path)


def test_an_unknown_study_or_budget_has_its_nearest_name() -> None:
    with pytest.raises(StudyError, match=r"unknown study 'bases'; did you mean 'basis'\?"):
        Study.load("bases")
    with pytest.raises(StudyError, match=r"unknown budget 'quik'; did you mean 'quick'\?"):
        Study.load("basis").resolve("quik")


def test_options_of_a_task_stand_beside_its_name() -> None:
    study = tiny(task={"name": "files", "train": "a.csv"})
    assert study.task.options == {"train": "a.csv"}
    assert Study.from_dict(study.model_dump(mode="json")) == study
    grown = Study.from_dict(BASE | {"task": "files"}, ["task.train=b.csv"])
    assert grown.task.options == {"train": "b.csv"}


def test_a_study_may_extend_another(tmp_path: Path) -> None:
    """Training and budgets are laid over key by key; what is an axis there is none here."""
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "below.yaml").write_text(
        "name: below\naxes: {r: [1]}\ntraining: {steps: 7, batch_size: 3}\n"
        "budgets: {smoke: {steps: 1, seeds: [1]}, full: {}}\n"
    )
    path = tmp_path / "above.yaml"
    path.write_text(
        "extends: common/below.yaml\nname: above\naxes: {}\ntraining: {steps: 9}\nbudgets: {smoke: {steps: 2}}\n"
    )
    study = Study.load(path)
    assert (study.name, study.axes) == ("above", {})
    assert (study.training.steps, study.training.batch_size) == (9, 3)
    assert study.resolve("smoke").training.steps == 2
    assert study.resolve("smoke").seeds == [1]
    path.write_text("extends: above.yaml\n")
    with pytest.raises(StudyError, match="leads back to it"):
        Study.load(path)
    path.write_text("extends: gone.yaml\n")
    with pytest.raises(StudyError, match=r"gone\.yaml: No such file"):
        Study.load(path)


def test_a_budget_may_choose_tasks_backbones_and_tuning() -> None:
    study = tiny(budgets={"smoke": {}, "full": {"task": ["sarcasm", "files"], "backbone": ["a", "b"], "steps": 5}})
    full = study.resolve("full")
    assert ([task.name for task in full.tasks], full.backbones, full.training.steps) == (
        ["sarcasm", "files"],
        ["a", "b"],
        5,
    )
    assert study.resolve("smoke").backbones == ["minilm"]


def test_a_study_declares_short_names_for_overrides() -> None:
    data = BASE | {"shortcuts": {"ranks": "axes.r"}}
    assert Study.from_dict(data, ["ranks=[3, 4]"]).axes["r"].values == [3, 4]
    with pytest.raises(StudyError, match=r"--set rankks: unknown key 'rankks'; did you mean 'ranks'\?"):
        Study.from_dict(data, ["rankks=[3]"])

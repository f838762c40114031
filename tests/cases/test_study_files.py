"""Study files as people write them: what YAML would read otherwise than it is written, and what two files share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.checks import check_design
from lrlora.studies.execution.plan import plan
from lrlora.studies.search.declaration import check_tune_folder, declare, write_tune_file
from lrlora.studies.spec.cells import expand_variants
from lrlora.studies.spec.claims import Claim
from lrlora.studies.spec.one_file import check_one_file
from lrlora.studies.spec.plain_yaml import parse_yaml
from lrlora.studies.spec.study import Study
from lrlora.studies.stats.runs import runs_frame
from lrlora.studies.stats.verdicts import ClaimVerdict, examine

DIGITS = """
task: digits
backbone: digits-vit
base: {method: lora}
training: {steps: 2}
budgets: {smoke: {}}
"""


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# -- YAML ---------------------------------------------------------------------------------------------------

ODD_YAML: dict[str, tuple[str | bytes, str]] = {
    "a key twice": ("name: x\nseeds: [1]\nname: y\n", "the key 'name' stands twice, in lines 1 and 3"),
    "a key twice, within": ("training:\n  steps: 1\n  seed: 2\n  steps: 3\n", "'steps' stands twice, in lines 2 and 4"),
    "a key of nothing": ("variants:\n  ~: {}\n", "line 2, column 3: the key ~ is not text"),
    "a tag of another kind": ("seeds: [!!int x]\n", "line 1, column 9: 'x' is not what the tag !!int says"),
    "no": ("name: no\n", "line 1, column 7: no without quotes is false to YAML; write false, or 'no' for the word"),
    "on as a key": ("variants:\n  on: {r: 1}\n", "line 2, column 3: on without quotes is true to YAML"),
    "a leading zero": ("seeds: [010]\n", "line 1, column 9: 010 is a number to base 8 to YAML"),
    "a tab": ("training:\n\tsteps: 3\n", "line 2, column 1: a tab; indent with spaces"),
    "an open bracket": ("seeds: [1, 2\nname: x\n", "not valid YAML at line"),
    "two documents": ("name: x\n---\nname: y\n", "a second document begins at line 2, column 1"),
    "nothing": ("# later\n", "is empty; keys and values are wanted"),
    "a list": ("- name: x\n", "holds a list, not keys and values"),
    "a word": ("name\n", "holds 'name', not keys and values"),
    "a number as a key": ("1: x\n", "line 1, column 1: the key 1 is not text; put it in quotes"),
    "an anchor within itself": ("base: &a {x: *a}\n", "an anchor holds itself"),
    "aliases without end": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
        "line 5, column 5: more than 100,000 values",
    ),
    "lists without end": ("a: " + "[" * 5000, "nested too deeply"),
    "an object": ("a: !!python/object/apply:os.getcwd []\n", "is not one of plain data"),
    "a set": ("a: !!set {b}\n", "the tag !!set is not one of plain data"),
    "a list where keys are": ("name: x\ntraining: [1]\n", "training: keys and values are wanted (given: [1])"),
    "a form of none": ("name: x\ntask: [digits, 5]\n", "task.1: keys and values are wanted (given: 5)"),
    "an unknown key in a form": ("name: x\ntask: {nam: digits}\n", "task: unknown key 'nam'; did you mean 'name'?"),
    "latin-1": ("name: x\nquestion: für\n".encode("latin-1"), "line 2: byte 0xfc is not UTF-8"),
    "UTF-16": ("name: x\n".encode("utf-16"), "is in UTF-16; save the file as UTF-8"),
    "a NUL byte": (b"name: x\0\n", "line 1: a NUL byte"),
    "a number as a name": ("name: x\nvariants: {4: {r: 4}}\n", "line 2, column 12: the key 4 is not text"),
    "a budget's tuning": ("name: x\nbudgets: {smoke: {tune: {stps: 3}}}\n", "budgets.smoke.tune: unknown key 'stps'"),
}


@pytest.mark.parametrize("case", ODD_YAML)
def test_what_a_study_file_should_not_hold_is_said_with_its_place(tmp_path: Path, case: str) -> None:
    content, says = ODD_YAML[case]
    path = write(tmp_path / "t.yaml", content)
    with pytest.raises(StudyError) as caught:
        Study.load(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_what_people_mean_is_read_as_they_mean_it() -> None:
    text = "{a: 1e-3, b: 5E4, c: 2024-01-01, d: 12:30, e: '010', f: \"no\", g: y, h: True, i: ~, j: 0x10, k: !!str on}"
    assert list(parse_yaml(text, "here").values()) == [
        1e-3, 5e4, "2024-01-01", "12:30", "010", "no", "y", True, None, 16, "on",
    ]  # fmt: skip
    merged = parse_yaml("a: &a {x: 1, y: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: [*b, *a], z: *a}", "here")
    assert merged == {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 2, "z": {"x": 1, "y": 1}}}


def test_options_of_a_task_are_given_beside_its_name_or_below_it() -> None:
    data = {
        "name": "x",
        "budgets": {"smoke": {}},
        "task": {"name": "question-files", "train": "a", "options": ["b", "c"]},
    }
    (task,) = Study.from_dict(data, ["task.train=d", "task.test=e"]).resolve("smoke").tasks
    assert task.options == {"train": "d", "test": "e", "options": ["b", "c"]}
    with pytest.raises(StudyError, match="variants: 4 is no text; put it in quotes"):
        Study.from_dict({"name": "x", "variants": {4: {}}})


# -- budgets, searches, folders -----------------------------------------------------------------------------


def test_a_budget_changes_the_tuning_key_by_key(tmp_path: Path) -> None:
    text = "name: x\ntune: {grid: {r: [2, 4]}, seeds: [31, 32]}\nbudgets: {smoke: {tune: {steps: 3}}, full: {}}\n"
    study = Study.load(write(tmp_path / "t.yaml", text))
    for budget, steps in (("smoke", 3), ("full", None)):
        tune = study.resolve(budget).tune
        assert tune is not None
        assert (tune.grid, tune.seeds, tune.steps) == ({"r": [2, 4]}, [31, 32], steps)


@pytest.mark.parametrize("change", ["task=digits", "backbone=smollm2"])
def test_a_search_on_another_task_or_backbone_needs_a_folder_of_its_own(tmp_path: Path, change: str) -> None:
    design = "name: x\nbase: {method: lora}\nbudgets: {quick: {}}\nmetric: {name: loss, direction: minimize}\n"
    path = write(tmp_path / "t.yaml", design)
    out = tmp_path / "out"
    out.mkdir()
    first = declare(str(path), ["all"])
    write_tune_file(out, check_tune_folder(out, first))
    assert check_tune_folder(out, first) == json.loads(json.dumps(first.content()))
    key = change.partition("=")[0]
    with pytest.raises(StudyError, match=f"holds another search: {key}s is .* there and .* here; give another folder"):
        check_tune_folder(out, declare(str(path), ["all"], overrides=[change]))


def test_a_second_file_of_one_name_does_not_push_out_the_first_ones_variants(tmp_path: Path) -> None:
    def study(name: str, ranks: list[int], overrides: tuple[str, ...] = ()) -> Study:
        return Study.load(write(tmp_path / name, f"name: x\naxes: {{r: {ranks}}}\n{DIGITS}"), overrides)

    first = study("a.yaml", [2, 4])
    saved = {"given_as": first.given_as}
    check_one_file(saved, first, study("b.yaml", [2, 4, 8]), "out")
    check_one_file(saved, first, study("a.yaml", [2, 8]), "out")  # the file was changed, as its owner wished
    check_one_file({}, first, study("b.yaml", [2]), "out")  # a record of 0.1
    with pytest.raises(StudyError) as caught:
        check_one_file(saved, first, study("b.yaml", [2, 8]), "out")
    lost = [variant.name for variant in expand_variants(first) if "4" in variant.name]
    assert f"b.yaml has the same name and not its variant {lost[0]}: " in str(caught.value)


# -- relative claims ----------------------------------------------------------------------------------------


def judge(lora: list[float], ours: list[float], **claim: Any) -> ClaimVerdict:
    records = [
        {"variant": name, "seed": i, "task": "t", "backbone": "b", "status": "finished", "metrics": {"matthews": value}}
        for name, values in (("lora", lora), ("ours", ours))
        for i, value in enumerate(values)
    ]
    runs = runs_frame(records, ["matthews"])
    return examine([Claim(says="x", of="ours", **claim)], runs, "lora", "matthews")[0]


def test_a_relative_claim_keeps_its_sign_where_the_reference_is_negative() -> None:
    verdict = judge([-0.20, -0.21, -0.19, -0.20], [-0.05, -0.06, -0.05, -0.04], relative=True)
    assert verdict.outcome == "supported"
    assert verdict.found is not None
    assert verdict.found.mean == pytest.approx(0.75, abs=0.01)


def test_a_relative_claim_on_a_partner_of_zero_is_said_and_not_tested() -> None:
    verdict = judge([0.0, 0.1, 0.2, 0.0], [0.5, 0.6, 0.7, 0.5], relative=True)
    assert (verdict.outcome, verdict.found, verdict.p) == ("not tested", None, None)
    assert "0 in 2 pairs" in verdict.note
    assert judge([0.0, 0.1, 0.2, 0.01], [0.5, 0.6, 0.7, 0.5]).outcome == "supported"


# -- values -------------------------------------------------------------------------------------------------

ODD_VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "true as a number": ({"training": {"steps": True}}, "training.steps: a number is wanted (given: true)"),
    "true as a seed": ({"seeds": [2, True]}, "seeds: a number is wanted (given: true)"),
    "true in a budget": ({"budgets": {"smoke": {"steps": True}}}, "steps: a number is wanted (given: true)"),
    "a huge number": ({"training": {"steps": 10**23}}, "training.steps: a number below 2**63 is wanted"),
    "a huge rank": ({"base": {"method": "lora", "r": 10**20}}, "lora: r: a number below 2**63 is wanted"),
    "a huge rank of ours": ({"base": {"method": "lrlora", "r": 10**20}}, "lrlora on digits-vit: "),
    "half a step": ({"training": {"steps": 1.5}}, "training.steps: a whole number is wanted (given: 1.5)"),
    "a word as a rate": ({"training": {"learning_rate": "fast"}}, "learning_rate: a number is wanted (given: 'fast')"),
    "nan": ({"training": {"learning_rate": float("nan")}}, "learning_rate: a finite number is wanted (given: nan)"),
    "nan of a method": ({"base": {"method": "lora", "lora_alpha": float("nan")}}, "lora: lora_alpha: names, finite"),
    "a word as a flag": ({"training": {"gradient_checkpointing": "maybe"}}, "true or false is wanted"),
    "a slash in the name": ({"name": "a/b"}, "name: a name is wanted that has only A to Z"),
    "a number as a name": ({"name": 5}, "name: text is wanted (given: 5)"),
    "an option misspelt": ({"task": {"name": "files", "trian": "a.csv"}}, "unknown key 'trian'; did you mean 'train'?"),
}


def _planned(plain: dict[str, Any]) -> dict[str, Any]:
    study = Study.from_dict(plain, where="t.yaml").resolve("smoke")
    check_design(study)
    return plan(study, "smoke")


@pytest.mark.parametrize("odd", ODD_VALUES)
def test_an_odd_value_is_refused_in_one_line(odd: str) -> None:
    changes, says = ODD_VALUES[odd]
    plain = {"name": "x", **parse_yaml(DIGITS, "t.yaml"), **changes}
    with pytest.raises(StudyError) as refused:
        _planned(plain)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_rate_in_quotes_or_without_a_dot_is_a_number() -> None:
    for rate in ("1e-3", "'1e-3'", "1E-3", ".001"):
        study = Study.from_dict(parse_yaml(f"name: x\ntraining: {{learning_rate: {rate}}}", "t.yaml"))
        assert study.training.learning_rate == 1e-3


def test_a_file_that_is_not_there_has_its_folder_and_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.yaml", f"name: x{DIGITS}".replace("digits", "{name: files, train: data.csv}", 1))
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(StudyError, match=r"mine\.yml: No such file in .*; did you mean mine\.yaml\?"):
        Study.load("mine.yml")
    write(tmp_path / "elsewhere" / "dat.csv", "")
    monkeypatch.chdir("elsewhere")
    with pytest.raises(StudyError, match=r"data\.csv: No such file in .*elsewhere; did you mean dat\.csv\?"):
        check_design(Study.load("../mine.yaml").resolve("smoke"))
    with pytest.raises(StudyError, match=r"gone/a\.yaml: No such file: there is no folder .*elsewhere/gone"):
        Study.load("gone/a.yaml")

"""The checks of methods and tasks: what is built in passes, and each of a gallery of faults is found by its check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faulty_studies
import pytest
from gallery import Fault, assert_found

from lrlora.registry import UnknownNameError
from lrlora.studies.errors import StudyError
from lrlora.studies.methods import METHODS
from lrlora.studies.tasks import TASKS
from lrlora.studies.testing import TaskByName, check_method, check_task
from lrlora.testing import run_checks

FAULTS = faulty_studies.FAULTS
FITTING = {"c3a": {"block_size": 4}, "miss": {"r": 2}}
"""Settings of methods whose defaults do not go on a model of width 8."""
ANNOUNCED = {"lora": {"check_every_setting_is_resolved": "older runs are known without a uniform rank allocation"}}


@pytest.mark.parametrize("name", [entry.name for entry in METHODS if entry.origin == "built-in"])
def test_every_method_that_is_built_in_conforms(name: str) -> None:
    check_method({"method": name, **FITTING.get(name, {})}, ANNOUNCED.get(name))


def test_a_method_conforms_with_settings_of_its_own() -> None:
    check_method({"method": "lrlora", "basis": "bspline", "grid": "learned", "sharing": "all", "num_grid_points": 5})


def test_the_users_own_files_conform(tmp_path: Path) -> None:
    file = tmp_path / "examples.csv"
    file.write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(40)), encoding="utf-8")
    outcomes = check_task("files", {"train": str(file)})
    assert {outcome.status for outcome in outcomes} == {"passed"}


def test_a_task_whose_data_are_not_here_says_so_and_downloads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRLORA_CACHE", str(tmp_path))
    outcomes = {outcome.check: outcome for outcome in run_checks(TaskByName("sarcasm"))}
    assert outcomes["check_announces_a_download"].status == "passed"
    assert outcomes["check_splits"].status == "not applicable"
    assert "fetching the headlines once" in outcomes["check_splits"].message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("sound", [faulty_studies.HeadOnly, faulty_studies.Parity])
def test_what_the_faulty_ones_are_made_of_conforms(sound: Any) -> None:
    assert [outcome for outcome in run_checks(sound()) if not outcome.ok] == []


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_is_found_by_the_check_for_it(fault: Fault) -> None:
    assert_found(fault)


@pytest.mark.parametrize(
    ("faulty", "check", "words"),
    [
        (faulty_studies.ConnectsWhenMade, "check_made_without_network", "making it asks for the address of a host"),
        (faulty_studies.TakesAnyOption, "check_unknown_options", "is taken"),
    ],
)
def test_a_fault_in_how_a_task_is_made_is_found(
    faulty: Any, check: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    TASKS.names()
    monkeypatch.setattr(TASKS, "_entries", dict(TASKS._entries))
    TASKS.register("faulty")(faulty)
    assert_found(Fault(lambda: TaskByName("faulty"), check, (words,)))


def test_misspelt_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'frozen'"):
        check_method("frozn")
    with pytest.raises(StudyError, match="unknown key 'ranc'"):
        check_method({"method": "lrlora", "ranc": 1})

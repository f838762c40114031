"""The commands for authors of plugins, as they are typed: from a name to a basis that a study compares."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import command
import pytest

from lrlora.studies.cli.main import run


@pytest.fixture(autouse=True)
def _by_itself(forgetting: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def owl(tmp_path: Path) -> str:
    """A basis that was just written, as ``--plugin`` takes it."""
    assert run(["basis", "new", "night_owl"]) == 0
    return str(tmp_path / "night_owl" / "lrlora_night_owl.py")


def test_a_new_basis_passes_its_own_checks_and_the_laws(owl: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["basis", "check", "night_owl", "--laws", "--json", "--plugin", owl]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    assert {"check_shape", "law_degree"} <= {check["check"] for check in found["checks"]}
    assert run(["basis", "show", "night_owl", "--plugin", owl]) == 0
    assert "LRLoraConfig(basis='night_owl')" in capsys.readouterr().out


def test_what_is_written_passes_its_own_test_and_ruff(owl: str) -> None:
    for tool in (["pytest", "-q", "-p", "no:cacheprovider"], ["ruff", "check"], ["ruff", "format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", *tool, "."], cwd=Path(owl).parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_basis_that_is_no_kernel_passes_its_checks_and_ruff(tmp_path: Path) -> None:
    assert run(["basis", "new", "night_owl", "--kind", "matrix"]) == 0
    plugin = tmp_path / "night_owl" / "lrlora_night_owl.py"
    assert run(["basis", "check", "night_owl:3", "--laws", "--plugin", str(plugin)]) == 0
    for tool in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *tool, "."], cwd=plugin.parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_basis_fails_by_name_unless_that_is_expected(owl: str, capsys: pytest.CaptureFixture[str]) -> None:
    broken = Path(owl)
    broken.write_text(broken.read_text().replace('parity="even"', 'parity="odd"'))
    assert run(["basis", "check", "night_owl", "--plugin", owl]) == 1
    out = capsys.readouterr().out
    assert any(line.startswith("FAILED") and "check_parity" in line for line in out.splitlines())
    assert "does not conform: " in out
    check = ["basis", "check", "night_owl", "--plugin", owl, "--expect"]
    assert run([*check, "check_parity=to see it fail"]) == 0
    assert "to see it fail" in capsys.readouterr().out
    assert run([*check, "check_partiy=typed wrong"]) == 2
    assert "did you mean 'check_parity'?" in capsys.readouterr().err
    assert run([*check, "check_parity"]) == 2
    assert "a reason" in capsys.readouterr().err


def test_a_failure_that_was_expected_and_does_not_come_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["basis", "check", "gaussian", "--expect", "check_parity=out of date"]) == 1
    assert "was expected to fail (out of date) and did not" in capsys.readouterr().out


def test_a_new_policy_passes_its_checks_is_listed_shown_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["policy", "new", "grid", "night_grid"]) == 0
    plugin = ["--plugin", str(tmp_path / "night_grid" / "lrlora_night_grid.py")]
    assert run(["policy", "check", "grid", "night_grid", *plugin]) == 0
    assert run(["policy", "list", "grid"]) == 0
    assert run(["policy", "show", "grid", "night_grid:3"]) == 0
    assert "LRLoraConfig(grid='night_grid:3')" in capsys.readouterr().out
    assert run(["policy", "plot", "grid", "night_grid:3"]) == 0
    assert (tmp_path / "grid-night_grid-3.svg").read_text().startswith("<svg")


def test_the_picture_goes_where_it_was_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["basis", "plot", "bspline:1", "--grid-points", "9"]) == 0
    assert (tmp_path / "bspline-1.svg").read_text().startswith("<svg")
    for arguments, said in (
        (["--out", "no/such.svg"], "its folder does not exist"),
        (["--out", "owl.png"], "use owl.svg"),
        (["--bandwidth", "konstant"], "did you mean 'constant'?"),
    ):
        assert run(["basis", "plot", "sinc", *arguments]) == 2
        assert said in capsys.readouterr().err


def test_a_bench_says_what_is_matched_and_is_json_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--steps", "3", "--tokens", "16", "--grid-points", "5", "--shape", "12", "16"]
    assert run(["basis", "bench", "gaussian", *short, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["matched"] for row in rows] == ["parameters", "operations"]
    assert rows[0]["parameters"] == 10
    assert rows[0]["step"]["reference_seconds"] > 0
    assert run(["basis", "bench", "gausian"]) == 2
    assert "did you mean 'gaussian'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["basis", "new", "sinc"], "there is a basis 'sinc' already"),
        (["basis", "new", "My-Basis"], "'my_basis' would do"),
        (["policy", "new", "gird", "x"], "did you mean 'grid'?"),
        (["policy", "check", "grid", "unifrom"], "did you mean 'uniform'?"),
        (["policy", "plot", "placement", "all"], "is not drawn"),
        (["study", "plan", "basis", "--set", "basis=[sinc]"], "did you mean 'bases'?"),
    ],
)
def test_what_was_mistyped_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_the_plan_of_a_study_shows_a_basis_that_its_short_name_added(
    owl: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    plan = ["study", "plan", "basis", "--budget", "smoke", "--set", "bases=[sinc,night_owl]", "--plugin", owl, "--json"]
    assert run(plan) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["variants"]] == ["sinc", "night_owl", "lora"]


@pytest.mark.e2e
@pytest.mark.slow
def test_a_study_of_a_plugin_resumes_and_its_record_names_the_plugin(
    owl: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the plugin, a report says what is missing and where it came from; with it, there is one."""
    small = ["steps=1", "train_examples=8", "validation_examples=8", "test_examples=8"]
    study = ["study", "run", "basis", "--budget", "smoke", "--out", "out", "--set", "bases=[night_owl]"]
    study += ["--set", "claims=[]", "--plugin", owl]
    study += [word for setting in small for word in ("--set", f"budgets.smoke.{setting}")]
    first = command.run(*study, cwd=tmp_path)
    assert first.status == 0, first.output
    again = command.run(*study, cwd=tmp_path)
    assert again.status == 0, again.output
    assert "[1/2]" in first.output
    assert "[1/2]" not in again.output, "cells that had ended were run again"

    capsys.readouterr()
    assert run(["study", "status", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"basis night_owl, which came from {owl}" in line
    assert "--plugin" in line
    assert run(["study", "status", "out", "--plugin", owl]) == 0
    assert "2 of 2 cells" in capsys.readouterr().out

"""The command line where nothing is trained: help, plans, counts, and every kind of bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lrlora.studies.cli.main import run

pytestmark = pytest.mark.e2e

RUN = ["study", "run", "basis", "--budget", "smoke", "--out", "out"]
BAD_INPUT = [
    pytest.param(["study", "run", "bases"], "did you mean 'basis'?", id="study"),
    pytest.param(["study", "run", "gone.yaml"], "gone.yaml: No such file", id="study file"),
    pytest.param(["study", "plan", "basis", "--budget", "quik"], "did you mean 'quick'?", id="budget"),
    pytest.param([*RUN, "--set", "axes.basis=[gausian]"], "did you mean 'gaussian'?", id="basis"),
    pytest.param(["study", "plan", "basis", "--set", "axes.basis=[gausian]"], "did you mean 'gaussian'?", id="plan"),
    pytest.param([*RUN, "--set", "base.grid=unifrm"], "did you mean 'uniform'?", id="grid"),
    pytest.param([*RUN, "--set", "base.placement=atention"], "did you mean 'attention'?", id="placement"),
    pytest.param([*RUN, "--set", "base.target_modules=[querry]"], "did you mean 'query'?", id="model module"),
    pytest.param([*RUN, "--set", "base.grdi=uniform"], "did you mean 'grid'?", id="key of the adapter"),
    pytest.param([*RUN, "--set", "base.r=0"], "r must be >= 1, got 0", id="value of the adapter"),
    pytest.param([*RUN, "--set", "baselines.lora.rr=4"], "did you mean 'r'?", id="key of a baseline"),
    pytest.param([*RUN, "--set", "base.method=lrlra"], "did you mean 'lrlora'?", id="method"),
    pytest.param([*RUN, "--set", "task=sarcsm"], "did you mean 'sarcasm'?", id="task"),
    pytest.param([*RUN, "--set", "backbone=minilmm"], "did you mean 'minilm'?", id="backbone"),
    pytest.param([*RUN, "--set", "metric.name=acuracy"], "did you mean 'accuracy'?", id="metric"),
    pytest.param([*RUN, "--set", "trainig.steps=1"], "did you mean 'training'?", id="key"),
    pytest.param([*RUN, "--set", "training.step=1"], "did you mean 'steps'?", id="nested key"),
    pytest.param([*RUN, "--set", "training.steps=[a"], "not valid YAML", id="not YAML"),
    pytest.param([*RUN, "--plugin", "gone.py"], "plugin file 'gone.py' does not exist", id="plugin"),
    pytest.param([*RUN, "--plugin", "broken.py"], "broken.py' does not import: ZeroDivisionError", id="broken plugin"),
    pytest.param([*RUN, "--bugdet", "quick"], "No such option", id="option"),
    pytest.param([*RUN, "--workers", "many"], "--workers many: a number, or auto", id="workers"),
    pytest.param([*RUN, "--cell-timeout", "0"], "a number of seconds above 0", id="time limit"),
    pytest.param([*RUN, "--workers", "4", "--gpus-per-cell", "99"], "99: needs 396 GPUs", id="GPUs"),
    pytest.param(["stdy"], "No such command", id="command"),
    pytest.param(["basis", "show", "gausian"], "did you mean 'gaussian'?", id="basis show"),
    pytest.param(["basis", "show", "bspline:0"], "degree of bspline must be >= 1, got 0", id="option of a basis"),
    pytest.param(["params", "minilm", "--set", "rr=1"], "did you mean 'r'?", id="params"),
    pytest.param(["params", "./gone"], "no such folder", id="params model"),
    pytest.param(["train", "gone.yaml"], "gone.yaml: No such file", id="train"),
    pytest.param(["study", "status", "out"], "no study was run here", id="status"),
    pytest.param(["study", "report", "out"], "no study was run here", id="report"),
    pytest.param(["study", "power", "bases"], "did you mean 'basis'?", id="power"),
    pytest.param(["study", "power", "basis", "--budget", "quik"], "did you mean 'quick'?", id="power budget"),
    pytest.param(["study", "power", "basis"], "run a pilot (12 cells, about", id="power without a pilot"),
    pytest.param(["study", "power", "basis", "--pilot", "1"], "--pilot", id="power of one seed"),
    pytest.param(["ui", "out"], "no study was run here", id="ui"),
    pytest.param(["data", "fetch", "sarcsm"], "did you mean 'sarcasm'?", id="data"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD_INPUT)
def test_bad_input_is_one_line_and_status_2_and_writes_nothing(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    assert run(arguments) == 2
    printed = capsys.readouterr()
    *before, last = printed.err.splitlines()
    assert last.startswith("lrlora: error: ")
    assert says in last
    assert all("checking the design" in line for line in before), "the first words of a run, and no traceback"
    assert not printed.out
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"broken.py"}


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mlflow.db").write_bytes(b"mine")
    assert run(RUN) == 2
    assert "holds databases of something else" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mlflow.db"]


def test_a_plan_lists_the_cells_and_their_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "plan", "basis", "--budget", "quick", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert len(plan["cells"]) == len(plan["variants"]) * len(plan["seeds"]) == 18
    assert 0 < plan["estimated"]["seconds"] < 15 * 60
    assert run(["study", "plan", "basis"]) == 0
    assert "to run: 18 of 18 cells" in capsys.readouterr().out


def test_the_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "list", "--json"]) == 0
    assert "basis" in {study["name"] for study in json.loads(capsys.readouterr().out)}
    assert run(["study", "list"]) == 0
    assert run(["basis", "list"]) == 0
    assert "gaussian" in capsys.readouterr().out
    assert run(["basis", "show", "bspline:2"]) == 0
    assert "degree" in capsys.readouterr().out


def test_parameters_are_counted_without_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["params", "minilm", "--set", "r=4", "--set", "placement=attention", "--json"]) == 0
    lrlora, lora = json.loads(capsys.readouterr().out)
    # Query, key, value and output of six layers of width 384; θ is 2 · 50 for each.
    assert lora["adapter"] == 6 * 4 * 4 * (384 + 384)
    assert lrlora["transfer"] == 6 * 4 * 100
    assert lrlora["adapter"] == lora["adapter"] + lrlora["transfer"]


def test_all_methods_are_counted_at_one_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["params", "minilm", "--all", "--set", "placement=attention", "--json"]) == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"lrlora", "lora", "dora", "adalora", "vera", "randlora"} <= rows.keys()
    ours = rows["lrlora"]["adapter"]
    for name in ("dora", "pissa", "adalora", "randlora", "miss"):
        assert abs(rows[name]["adapter"] - ours) < ours / 8, name


@pytest.mark.parametrize(
    "arguments", [[], ["study"], ["study", "run"], ["basis", "list"], ["train"], ["params"], ["ui"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from lrlora.studies.cli.main import run; status = run(sys.argv[1:]);"
        "heavy = {'torch', 'peft', 'transformers', 'mlflow', 'optuna', 'pandas'} & set(sys.modules);"
        "sys.exit(f'imports {heavy}' if heavy else status)"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert time.perf_counter() - started < 5, "half a second, on a machine that does nothing else"


def test_a_second_plan_imports_neither_torch_nor_peft(tmp_path: Path) -> None:
    code = (
        "import sys; from lrlora.studies.cli.main import run; status = run(sys.argv[1:]);"
        "print(sorted({'torch', 'peft', 'pandas'} & set(sys.modules)), file=sys.stderr); sys.exit(status)"
    )
    plans, imported = [], []
    for budget in ("quick", "quick", "smoke"):
        done = subprocess.run(
            [sys.executable, "-c", code, "study", "plan", "basis", "--budget", budget, "--json"],
            env=os.environ | {"LRLORA_CACHE": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        plans.append(json.loads(done.stdout))
        imported.append(done.stderr.splitlines()[-1])
    assert "torch" in imported[0]
    assert imported[1:] == ["[]", "[]"]
    assert plans[0] == plans[1]
    assert {cell["id"] for cell in plans[0]["cells"]} == {None}

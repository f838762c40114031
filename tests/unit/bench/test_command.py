"""The command: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lrlora.engines.select import COSTS_FILE, described_costs
from lrlora.studies.cli.main import run

LAYER = ["bench", "layer", "12", "8"]
BAD_INPUT = [
    pytest.param([*LAYER, "--bases", "sinc,gausian"], "did you mean 'gaussian'?", id="basis"),
    pytest.param([*LAYER, "--beside", "lora,dorra"], "did you mean 'dora'?", id="method"),
    pytest.param([*LAYER, "--engine", "autto"], "did you mean 'auto'?", id="engine"),
    pytest.param([*LAYER, "--bending", "strng"], "did you mean 'strong'?", id="bending"),
    pytest.param([*LAYER, "--json", "gone/found.json"], "its folder does not exist", id="file"),
    pytest.param([*LAYER, "--device", "gpu"], "unknown value of --device 'gpu'", id="device"),
    pytest.param(["bench", "layer", "0", "8"], "greater than or equal to 1", id="shape"),
    pytest.param(["bench", "cell", "--beside", "lor"], "did you mean 'lora'?", id="cell"),
    pytest.param(["bench", "cell", "--rounds", "0"], "greater than or equal to 1", id="rounds"),
    pytest.param(["bench", "step", "minilmm"], "did you mean 'minilm'?", id="model"),
    pytest.param(["bench", "step", "--tokens", "4128"], "must be BATCHxLENGTH", id="tokens"),
    pytest.param(["bench", "grid-points", "--basis", "snic"], "did you mean 'sinc'?", id="grid points"),
    pytest.param(["bench", "stp"], "No such command", id="command"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD_INPUT)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr()
    said = [line for line in printed.err.splitlines() if line.startswith("lrlora: error: ")]
    assert len(said) == 1
    assert says in said[0]
    assert not printed.out


@pytest.mark.parametrize("command", ["cell", "step", "layer", "grid-points"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", command, "--help"]) == 0
    # Where colours are asked for, as continuous integration does, an option is printed in pieces.
    printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert all(option in printed for option in ("--json", "--threads", "--load"))


def test_measured_constants_can_be_named_in_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "costs.json"
    assert run(["bench", "calibrate", "--threads", "1", "--json", str(file)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(file.read_text())
    monkeypatch.setenv(COSTS_FILE, str(file))
    assert described_costs() == printed


def test_a_layer_has_a_row_per_method_in_the_table_and_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    arguments = ["--bases", "sinc,polynomial", "--beside", "dora", "--steps", "2", "--tokens", "4", "--threads", "1"]
    assert run([*LAYER, *arguments, "--json", str(file)]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert all(word in lines[0] for word in ("1 threads", "cores", "load average", "torch", "peft"))
    table = [line for line in lines if line.startswith("|")]
    names = ["lora", "dora", "sinc", "polynomial"]
    assert [line.split("|")[1].strip() for line in table[2:]] == names
    assert len({line.count("|") for line in table}) == 1
    text = file.read_text(encoding="utf-8")
    document = json.loads(text)
    assert json.dumps(document, indent=1) + "\n" == text
    assert document["bench"] == "layer"
    assert (document["settings"]["out"], document["settings"]["in"], document["settings"]["steps"]) == (12, 8, 2)
    assert document["environment"]["threads"] == 1
    assert [(row["name"], row["rounds"], row["config"]["r"]) for row in document["rows"]] == [(n, 2, 8) for n in names]


@pytest.mark.parametrize("command", ["step", "layer"])
def test_a_device_that_is_not_there_is_one_line(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    arguments = LAYER if command == "layer" else ["bench", "step"]
    assert run([*arguments, "--device", "cuda"]) == 2
    printed = capsys.readouterr()
    assert "--device cuda: PyTorch" in printed.err
    assert not printed.out

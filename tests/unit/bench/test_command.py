"""The command: what it prints, and how it refuses."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lrlora.studies.bench.memory import Peak
from lrlora.studies.bench.settings import COMPILE_VARIABLE, compile_mode
from lrlora.studies.cli.main import run

TINY = ["--shape", "32", "16", "--tokens", "8", "--steps", "2", "--warmup", "1", "--compile", "never"]
LAYER = ["bench", "layer", *TINY]
BAD_INPUT = [
    pytest.param([*LAYER, "--bases", "snic"], "did you mean 'sinc'?", id="basis"),
    pytest.param([*LAYER, "--engines", "tabulatd"], "did you mean 'tabulated'?", id="engine"),
    pytest.param([*LAYER, "--dtype", "bfloat61"], "did you mean 'bfloat16'?", id="dtype"),
    pytest.param([*LAYER, "--compile", "alway"], "did you mean 'always'?", id="compile"),
    pytest.param([*LAYER, "--rank", "4,x"], "--rank 'x': give whole numbers", id="rank"),
    pytest.param([*LAYER, "--grid-points", "0"], "--grid-points '0': give whole numbers", id="grid points"),
    pytest.param([*LAYER, "--tolerance", "0"], "engine_tolerance must be > 0, got 0", id="tolerance"),
    pytest.param([*LAYER, "--steps", "0"], "--steps is at least 1", id="steps"),
    pytest.param([*LAYER, "--warmup", "-1"], "--warmup is not negative", id="warmup"),
    pytest.param([*LAYER, "--seconds", "0"], "--seconds is positive", id="seconds"),
    pytest.param([*LAYER, "roberta-base/q"], "not both", id="shape and layer"),
    pytest.param(["bench", "layer", "--shape", "0", "3"], "--shape takes two", id="shape"),
    pytest.param(["bench", "layer", "roberta-bas/q"], "did you mean 'roberta-base/q'?", id="layer"),
    pytest.param(["bench", "scaling", "qwen2-0.5b/dwn"], "did you mean 'qwen2-0.5b/down'?", id="scaling"),
    pytest.param(["bench", "step", "minilmm"], "did you mean 'minilm'?", id="model"),
    pytest.param(["bench", "step", "--tokens", "4128"], "give BATCHxLENGTH", id="tokens"),
    pytest.param(["bench", "floor", "minilmm"], "did you mean 'minilm'?", id="floor"),
    pytest.param(["bench", "grid-points", "minilmm"], "did you mean 'minilm'?", id="grid points of a model"),
    pytest.param(["bench", "grid-points", "--few", "0"], "num_grid_points", id="few grid points"),
    pytest.param(["bench", "costs", "--tokens", "0"], "take whole numbers of at least 1", id="costs"),
    pytest.param(["bench", "stp"], "No such command", id="command"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD_INPUT)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("lrlora: error: ")
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


@pytest.mark.parametrize("command", ["layer", "step", "scaling"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", command, "--help"]) == 0
    # Where colours are asked for, as continuous integration does, an option is printed in pieces.
    assert "--rank" in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


def test_json_has_the_settings_and_a_row_for_each_combination(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LAYER, "--rank", "2,4", "--bases", "sinc", "--engines", "auto,tabulated", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bench"] == "layer"
    assert document["settings"]["layers"] == {"32x16": [32, 16]}
    assert document["settings"]["steps"] == 2
    assert document["settings"]["compile"] == "never"
    assert document["environment"]["threads"] >= 1
    assert document["environment"]["processor"]
    rows = document["rows"]
    assert [(row["rank"], row["engine"]) for row in rows] == [
        (2, "auto"),
        (2, "tabulated"),
        (4, "auto"),
        (4, "tabulated"),
    ]
    for row in rows:
        assert row["quartiles"][0] <= row["ratio"] <= row["quartiles"][1]
        assert row["pairs"] == 2
        assert min(row["ours_ms"], row["lora_ms"]) > 0
        assert row["warm_up"]["steps"] == 1
        assert row["refused"] is row["memory"] is None
        assert row["tokens"] == "8"


def test_an_engine_that_refuses_has_a_row_that_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    # A B-spline of degree 1 has kinks, which no polynomial follows.
    assert run([*LAYER, "--bases", "bspline:1", "--engines", "polynomial", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["ratio"] is None
    assert row["refused"]


def test_markdown_is_a_table_under_what_it_was_measured_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(subject: object, config: dict[str, object], *_: object, **__: object) -> Peak:
        return Peak(550.0 if config["method"] == "lrlora" else 500.0, 400.0, "made up")

    monkeypatch.setattr("lrlora.studies.bench.comparing.measure_peak", measure)
    assert run([*LAYER, "--bases", "sinc", "--engines", "auto", "--memory", "--markdown"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.strip().splitlines()
    assert "float32" in lines[0]
    assert lines[2] == "**32x16**, 8 tokens"
    table = lines[4:]
    assert len(table) == 3
    assert len({line.count("|") for line in table}) == 1
    assert "MiB" in table[0]
    assert table[2].startswith("| sinc | auto | 8 | 50 | **")
    assert table[2].endswith("| 1.10 | 550 | 500 |")


def test_scaling_gives_the_model_beside_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "scaling.svg"
    arguments = ["bench", "scaling", *TINY, "--tokens", "16", "--rank", "2", "--engines", "polynomial,tabulated"]
    assert run([*arguments, "--bases", "gaussian", "--grid-points", "8", "--plot", str(plot), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(row["tokens"], row["engine"]) for row in document["rows"]] == [
        ("8", "polynomial"),
        ("8", "tabulated"),
        ("16", "polynomial"),
        ("16", "tabulated"),
    ]
    assert {found["engine"]: found["dense_engine"] for found in document["model"]["constants"]}["tabulated"]
    assert all(row["model_ratio"] > 0 for row in document["rows"] if row["ratio"] is not None)
    assert set(document["model"]["rates"]["product_gflops"]) == {"1", "8", "16"}
    drawn = plot.read_text(encoding="utf-8")
    assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in drawn
    assert "currentColor" not in drawn


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "gone" / "scaling.svg"
    assert run(["bench", "scaling", *TINY, "--rank", "2", "--plot", str(plot)]) == 2
    assert "its folder does not exist" in capsys.readouterr().err


def test_engines_are_told_to_compile_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COMPILE_VARIABLE, raising=False)
    with compile_mode(None) as mode:
        assert mode == os.environ[COMPILE_VARIABLE] == "always"
    assert COMPILE_VARIABLE not in os.environ
    monkeypatch.setenv(COMPILE_VARIABLE, "auto")
    with compile_mode(None) as mode:
        assert mode == "auto"
    with compile_mode("never"):
        assert os.environ[COMPILE_VARIABLE] == "never"
    assert os.environ[COMPILE_VARIABLE] == "auto"

"""``lrlora study export`` and ``compare`` on studies that were really run."""

from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path

import command
import pytest

from lrlora.studies.cli.main import run

STUDY = """
name: {name}
question: Does it export?
base: {{method: lrlora, r: 2}}
axes: {{basis: [sinc]}}
baselines: {{lora: {{method: lora, r: 2}}}}
claims: [{{says: sinc is above lora, of: sinc}}]
seeds: [1]
training: {{batch_size: 4, steps: 2, max_length: 8, train_examples: 8, validation_examples: 8, test_examples: 8}}
budgets: {{smoke: {{learning_rate: {rate}}}}}
"""


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies that differ in their learning rate."""
    folder = tmp_path_factory.mktemp("studies")
    for name, rate in (("first", 0.001), ("second", 0.002)):
        (folder / f"{name}.yaml").write_text(STUDY.format(name=name, rate=rate), encoding="utf-8")
        ended = command.run("study", "run", f"{name}.yaml", "--budget", "smoke", "--out", name, cwd=folder)
        assert ended.status == 0, ended.output
    return folder


def test_a_report_is_exported_to_a_file(studies: Path) -> None:
    ended = command.run("study", "export", "first", "--format", "latex", "--out", "out.tex", cwd=studies)
    assert (ended.status, ended.output) == (0, "")
    text = (studies / "out.tex").read_text(encoding="utf-8")
    assert text == (studies / "first" / "report" / "results.tex").read_text(encoding="utf-8")


def test_without_a_file_it_goes_to_the_screen(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "export", str(studies / "first"), "--format", "csv"]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 2


def test_a_cell_s_link_leads_to_its_record(studies: Path) -> None:
    report = studies / "first" / "report"
    page = (report / "index.html").read_text(encoding="utf-8")
    links = [part.partition('"')[0] for part in page.split('href="')[1:] if part.startswith("../artifacts")]
    assert len(links) == 2
    assert all((report / link).is_file() for link in links)


def test_two_studies_are_compared_on_shared_seeds(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = command.run("study", "compare", "first", "second", "--json", "--html", "page.html", cwd=studies)
    assert ended.status == 0, ended.output
    found = json.loads(ended.output)
    assert [one["key"] for one in found["settings"]] == ["training.learning_rate"]
    assert {one["name"]: one["change"]["n"] for one in found["variants"]} == {"sinc": 1, "lora": 1}
    assert "training.learning_rate" in (studies / "page.html").read_text(encoding="utf-8")
    assert run(["study", "compare", str(studies / "first"), str(studies / "second")]) == 0
    assert "sinc is above lora" in capsys.readouterr().out


def test_a_report_says_how_to_have_it_again(studies: Path) -> None:
    again = ("run", "first.yaml", "--budget", "smoke", "--set", "seeds=[1, 2]")
    ended = command.run("study", *again, "--out", "more", cwd=studies)
    assert ended.status == 0, ended.output
    text = (studies / "more" / "report" / "summary.md").read_text(encoding="utf-8")
    assert f"Run again with `{shlex.join(('lrlora', 'study', *again))}`" in text


def test_claims_of_several_studies_are_listed(studies: Path) -> None:
    rows = json.loads(command.run("study", "claims", "first", "second", "--json", cwd=studies).output)
    assert [(row["study"], row["claim"]) for row in rows] == [
        ("first", "sinc is above lora"),
        ("second", "sinc is above lora"),
    ]
    assert rows[1]["command"] == "lrlora study run second.yaml --budget smoke"
    printed = command.run("study", "claims", "first", "--markdown", cwd=studies)
    assert printed.output.startswith("| Study | On | Claim |")
    nothing = command.run("study", "claims", "first", "third", cwd=studies)
    assert nothing.status != 0
    assert nothing.output.strip() == "lrlora: error: third: no study was run here (no study.json)"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("export", "first", "--format", "tex"), "did you mean 'latex'?"),
        (("export", "nowhere"), "no study was run here"),
        (("compare", "first", "nowhere"), "no study was run here"),
        (("export", "first", "--out", "no/such/place.tex"), "cannot be written"),
    ],
)
def test_bad_input_gets_one_line(
    studies: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    line: str,
) -> None:
    monkeypatch.chdir(studies)
    assert run(["study", *arguments]) != 0
    said = capsys.readouterr().err
    assert line in said
    assert len(said.strip().splitlines()) == 1


def test_a_pilot_is_run_and_says_what_claims_need(studies: Path) -> None:
    refused = command.run("study", "power", "first", cwd=studies)
    assert refused.status == 2
    assert "one seed does not tell the spread; run a pilot" in refused.output
    assert "lrlora study run first.yaml --budget smoke --out first --set 'seeds=[1, 2]'" in refused.output
    arguments = ("study", "power", "first.yaml", "--budget", "smoke", "--out", "pilot")
    ended = command.run(*arguments, "--run", "--json", "power.json", cwd=studies)
    assert ended.status == 0, ended.output
    found = json.loads((studies / "power.json").read_text(encoding="utf-8"))
    (claim,) = found["claims"]
    assert (found["seeds"], claim["pairs"], claim["examples"]) == (2, 2, 8)
    assert [need["outcome"] for need in claim["needs"]][:2] == ["supported", "no effect of that size"]
    assert "first at budget smoke, 2 seeds; for 80 % power" in ended.output
    again = command.run("study", "power", "pilot", cwd=studies)
    assert again.status == 0
    assert again.output in ended.output

"""``lrlora study export`` and ``compare`` on studies that were really run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.e2e.command import run

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
        ended = run("study", "run", f"{name}.yaml", "--budget", "smoke", "--out", name, cwd=folder)
        assert ended.status == 0, ended.output
    return folder


def test_a_report_is_exported_to_a_file(studies: Path) -> None:
    ended = run("study", "export", "first", "--format", "latex", "--out", "out.tex", cwd=studies)
    assert (ended.status, ended.output) == (0, "")
    text = (studies / "out.tex").read_text(encoding="utf-8")
    assert text == (studies / "first" / "report" / "results.tex").read_text(encoding="utf-8")


def test_a_cell_s_link_leads_to_its_record(studies: Path) -> None:
    report = studies / "first" / "report"
    page = (report / "index.html").read_text(encoding="utf-8")
    links = [part.partition('"')[0] for part in page.split('href="')[1:] if part.startswith("../artifacts")]
    assert len(links) == 2
    assert all((report / link).is_file() for link in links)


def test_two_studies_are_compared_on_shared_seeds(studies: Path) -> None:
    ended = run("study", "compare", "first", "second", "--json", "--html", "page.html", cwd=studies)
    assert ended.status == 0, ended.output
    found = json.loads(ended.output)
    assert [one["key"] for one in found["settings"]] == ["training.learning_rate"]
    assert {one["name"]: one["change"]["n"] for one in found["variants"]} == {"sinc": 1, "lora": 1}
    assert "training.learning_rate" in (studies / "page.html").read_text(encoding="utf-8")


def test_a_report_says_how_to_have_it_again(studies: Path) -> None:
    again = ("run", "first.yaml", "--budget", "smoke", "--set", "seeds=[1, 2]")
    ended = run("study", *again, "--out", "more", cwd=studies)
    assert ended.status == 0, ended.output
    text = (studies / "more" / "report" / "summary.md").read_text(encoding="utf-8")
    assert f"Run again with `{shlex.join(('lrlora', 'study', *again))}`" in text


def test_claims_of_several_studies_are_listed(studies: Path) -> None:
    rows = json.loads(run("study", "claims", "first", "second", "--json", cwd=studies).output)
    assert [(row["study"], row["claim"]) for row in rows] == [
        ("first", "sinc is above lora"),
        ("second", "sinc is above lora"),
    ]
    assert rows[1]["command"] == "lrlora study run second.yaml --budget smoke"
    printed = run("study", "claims", "first", "--markdown", cwd=studies)
    assert printed.output.startswith("| Study | On | Claim |")
    nothing = run("study", "claims", "first", "third", cwd=studies)
    assert nothing.status != 0
    assert nothing.output.strip() == "lrlora: error: third: no study was run here (no study.json)"


def test_an_unknown_format_gets_one_line(studies: Path) -> None:
    ended = run("study", "export", "first", "--format", "tex", cwd=studies)
    assert ended.status != 0
    assert "did you mean 'latex'?" in ended.output
    assert len(ended.output.strip().splitlines()) == 1

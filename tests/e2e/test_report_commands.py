"""``lrlora study export`` and ``compare`` on studies that were really run."""

from __future__ import annotations

import csv
import io
import json
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


def test_every_format_is_the_file_of_the_report(studies: Path) -> None:
    files = {
        "latex": "results.tex",
        "csv": "results.csv",
        "json": "results.json",
        "md": "summary.md",
        "html": "index.html",
    }
    for kind, name in files.items():
        ended = run("study", "export", "first", "--format", kind, "--out", f"out.{kind}", cwd=studies)
        assert (ended.status, ended.output) == (0, "")
        written = (studies / f"out.{kind}").read_text(encoding="utf-8")
        assert written == (studies / "first" / "report" / name).read_text(encoding="utf-8")


def test_without_a_file_it_goes_to_the_screen(studies: Path) -> None:
    ended = run("study", "export", "first", "--format", "csv", cwd=studies)
    assert len(list(csv.DictReader(io.StringIO(ended.output)))) == 2


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
    shown = run("study", "compare", "first", "second", cwd=studies)
    assert "sinc is above lora" in shown.output


def test_bad_input_gets_one_line(studies: Path) -> None:
    for arguments, line in {
        ("export", "first", "--format", "tex"): "did you mean 'latex'?",
        ("export", "nowhere"): "no study was run here",
        ("compare", "first", "nowhere"): "no study was run here",
        ("export", "first", "--out", "no/such/place.tex"): "cannot be written",
    }.items():
        ended = run("study", *arguments, cwd=studies)
        assert ended.status != 0
        assert line in ended.output
        assert len(ended.output.strip().splitlines()) == 1

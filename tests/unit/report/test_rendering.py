"""The written report: complete for every state a study can be in, self-contained, consistent and repeatable."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from lrlora.studies.report.formatting import Scale, probability
from lrlora.studies.report.terminal import print_summary
from lrlora.studies.report.writing import FORMATS, report_text, write_report
from lrlora.studies.stats.paired import PairedDifference

VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})


class Page(HTMLParser):
    """Checks that elements nest, and collects ids, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.resources: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.resources += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def states(synthetic: SimpleNamespace) -> dict[str, Any]:
    full = synthetic.full()
    lone = synthetic.record("sinc", 1) | {"layers": [], "train_loss": [], "parameters": {}, "step_seconds": None}
    return {
        "complete": synthetic.results(),
        "partial": synthetic.results(full[:7], planned=18),
        "one seed": synthetic.results(synthetic.full((42,))),
        "eight seeds": synthetic.results(synthetic.full(tuple(range(8)))),
        "empty": synthetic.results([], planned=18),
        "no reference declared": synthetic.results(full, study=synthetic.Study(reference=None, paper=None)),
        "reference missing": synthetic.results([r for r in full if r["variant"] != "lora"], planned=18),
        "reference diverged": synthetic.results(
            [synthetic.diverged("lora", r["seed"], 60) if r["variant"] == "lora" else r for r in full]
        ),
        "all diverged": synthetic.results([synthetic.diverged("sinc", seed, 50) for seed in (1, 2)]),
        "failed": synthetic.results(
            [*full, synthetic.record("late", 1, status="failed", metrics={}, layers=[], reason="out of memory")]
        ),
        "nothing measured": synthetic.results([lone]),
        "several tasks": synthetic.results(
            [synthetic.record(v, 1, task={"name": t, "options": {}}) for t in "ab" for v in ("sinc", "lora")]
        ),
        "many variants": synthetic.results(
            [synthetic.record(f"a rather long name of variant {i}", s) for i in range(15) for s in (1, 2)]
        ),
        "hostile names": synthetic.results(
            [synthetic.record(v, s) for v in ("<script>alert(1)</script>", "a|b_$x$", "lora") for s in (1, 2)]
        ),
        "bare environment": synthetic.results(environment={}),
        "no paper": synthetic.results(study=synthetic.Study(paper={})),
        "loss": synthetic.results(study=synthetic.Study(metric=synthetic.Metric("loss", "minimize"), paper=None)),
    }


STATES = [
    "complete",
    "partial",
    "one seed",
    "eight seeds",
    "empty",
    "no reference declared",
    "reference missing",
    "reference diverged",
    "all diverged",
    "failed",
    "nothing measured",
    "several tasks",
    "many variants",
    "hostile names",
    "bare environment",
    "no paper",
    "loss",
]


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_a_study_renders(synthetic: SimpleNamespace, state: str) -> None:
    results = states(synthetic)[state]
    folder = write_report(results)
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.html",
        "results.csv",
        "results.json",
        "results.tex",
        "summary.md",
    ]
    document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    markdown = (folder / "summary.md").read_text(encoding="utf-8")
    console = Console(file=io.StringIO(), width=100)
    print_summary(results, console)

    assert len(page.ids) == len(set(page.ids))
    assert not page.tags & {"script", "link", "img", "iframe"}
    files = r"results\.csv|results\.json|results\.tex|summary\.md|\.\./artifacts/[0-9a-f]{32}/artifacts/result\.json"
    assert all(re.fullmatch(rf"#[\w-]+|{files}", found) for found in page.resources)
    assert {found[1:] for found in page.resources if found.startswith("#")} <= set(page.ids)
    assert document["headline"] in page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert len(list(csv.DictReader((folder / "results.csv").read_text(encoding="utf-8").splitlines()))) == len(
        results.records
    )
    for text in (page.text, markdown, console.file.getvalue()):  # type: ignore[attr-defined]
        assert not re.search(r"\bnan\b|\bNone\b|\binf\b", text.replace(" None.", ""))
    assert "lrlora study run basis --budget quick" in page.text


def test_the_states_are_all_tested(synthetic: SimpleNamespace) -> None:
    assert list(states(synthetic)) == STATES


def test_markdown_numbers_are_those_of_the_json(synthetic: SimpleNamespace) -> None:
    folder = write_report(synthetic.results())
    document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    scale = Scale.of("accuracy")
    lines = (folder / "summary.md").read_text(encoding="utf-8").split("## Results")[1].splitlines()
    results = {
        name: row for name, row in _first_rows(lines).items() if name in {v["name"] for v in document["variants"]}
    }
    assert len(results) == len(document["variants"]) == 6
    for variant in document["variants"]:
        row = results[variant["name"]]
        assert row[0] == str(variant["finished"])
        assert row[1] == f"{scale.value(variant['metric']['mean'])} ± {scale.value(variant['metric']['std'])}"
        if variant["comparison"]:
            found = variant["comparison"]["difference"]
            assert row[2] == scale.found(PairedDifference(**found))
            assert row[3] == probability(variant["comparison"]["p_holm"]).replace("<", r"\<")
            assert row[4] == scale.value(found["detectable"])


def _first_rows(lines: list[str]) -> dict[str, list[str]]:
    """The rows of the first table, by their first cell."""
    rows: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("|"):
            _, name, *cells, _ = (cell.strip() for cell in line.split("|"))
            rows.setdefault(name, cells)
    return rows


def test_the_csv_is_flat_and_in_natural_units(synthetic: SimpleNamespace) -> None:
    records = [*synthetic.full()[:3], synthetic.diverged("fourier", 9, 60)]
    folder = write_report(synthetic.results(records))
    rows = list(csv.DictReader((folder / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert float(rows[0]["metrics.accuracy"]) == records[0]["metrics"]["accuracy"]
    assert json.loads(rows[0]["config.target_modules"]) == ["query", "key"]
    assert rows[0]["mlflow_run_id"] == records[0]["mlflow_run_id"]
    assert (rows[3]["status"], rows[3]["diverged_at"], rows[3]["metrics.accuracy"]) == ("diverged", "60", "")
    assert "train_loss" not in rows[0]


def test_the_page_traces_every_number_to_its_run(synthetic: SimpleNamespace) -> None:
    results = synthetic.results([*synthetic.full(), synthetic.diverged("fourier", 9, 60)])
    text = Page((write_report(results) / "index.html").read_text(encoding="utf-8")).text
    assert all(record["mlflow_run_id"] in text for record in results.records)
    assert "diverged at step 60" in text
    assert "0123456789abcdef" in text


def test_uncommitted_changes_are_mentioned(synthetic: SimpleNamespace) -> None:
    results = synthetic.results(environment={"git": {"commit": "abc", "dirty": True}})
    assert "uncommitted changes" in (write_report(results) / "summary.md").read_text(encoding="utf-8")


def test_names_cannot_inject_markup(synthetic: SimpleNamespace) -> None:
    folder = write_report(states(synthetic)["hostile names"])
    assert "<script>" not in (folder / "index.html").read_text(encoding="utf-8")
    assert "<script>" not in (folder / "summary.md").read_text(encoding="utf-8").replace("\\<", "")


def test_the_same_records_give_the_same_bytes(synthetic: SimpleNamespace) -> None:
    results = synthetic.results(synthetic.full(tuple(range(6))))
    first, second = ({p.name: p.read_bytes() for p in write_report(results).iterdir()} for _ in range(2))
    assert first == second


def test_figures_follow_the_page(synthetic: SimpleNamespace) -> None:
    page = (write_report(synthetic.results()) / "index.html").read_text(encoding="utf-8")
    figures = re.findall(r"<figure .*?</figure>", page, flags=re.DOTALL)
    names = [found.group(1) for figure in figures if (found := re.match(r'<figure id="figure-([\w-]+)"', figure))]
    assert names[:5] == ["metric", "difference", "tradeoff", "loss", "grad-norm"]
    for figure in figures:
        assert "currentColor" in figure
        assert "<text" in figure
        assert not re.search(r"#[0-9a-f]{6}", figure)


def test_the_caller_s_matplotlib_settings_stay(synthetic: SimpleNamespace) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    write_report(synthetic.results())
    assert dict(matplotlib.rcParams) == before


def test_every_format_is_the_file_of_the_report(synthetic: SimpleNamespace) -> None:
    results = synthetic.results(synthetic.full((1,)))
    written = {path.read_text(encoding="utf-8") for path in write_report(results).iterdir()}
    found = {kind: report_text(results, kind) for kind in FORMATS}
    page = found.pop("html")
    assert set(found.values()) <= written
    assert len(written) == len(found) + 1
    # Wherever it is put, it has no links that lead nowhere.
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', page))
    assert "run" in page


def test_importing_the_report_loads_nothing_heavy() -> None:
    code = (
        "import sys; import lrlora.studies.report; "
        "print(*sorted({'matplotlib', 'scipy', 'jinja2', 'numpy', 'rich'} & sys.modules.keys()))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


def test_the_terminal_shows_the_table_the_headline_and_the_caveats(synthetic: SimpleNamespace) -> None:
    output = io.StringIO()
    print_summary(synthetic.results(synthetic.full()[:-1], planned=18), Console(file=output, width=160))
    text = output.getvalue()
    assert "Difference to lora" in text
    assert "has the highest mean accuracy" in text
    assert "1 of 18 planned cells is not recorded" in text


def test_the_folder_is_where_it_should_be(synthetic: SimpleNamespace) -> None:
    results = synthetic.results()
    folder = write_report(results)
    assert folder == results.out / "report"
    assert isinstance(folder, Path)

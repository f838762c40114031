"""The written report: complete for every state a study can be in, self-contained, consistent and repeatable."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
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


def _without_reference(s: SimpleNamespace) -> Any:
    return s.results([record for record in s.full() if record["variant"] != "lora"], planned=18)


def _with_diverged_reference(s: SimpleNamespace) -> Any:
    return s.results([s.diverged("lora", r["seed"], 60) if r["variant"] == "lora" else r for r in s.full()])


def _with_a_failure(s: SimpleNamespace) -> Any:
    failed = s.record("late", 1, status="failed", metrics={}, layers=[], reason="out of memory")
    return s.results([*s.full(), failed])


def _several_tasks(s: SimpleNamespace) -> Any:
    tasks = [{"name": name, "options": {}} for name in "ab"]
    return s.results([s.record(variant, 1, task=task) for task in tasks for variant in ("sinc", "lora")])


def _nothing_measured(s: SimpleNamespace) -> Any:
    return s.results([s.record("sinc", 1) | {"layers": [], "train_loss": [], "parameters": {}, "step_seconds": None}])


def _many_variants(s: SimpleNamespace) -> Any:
    return s.results([s.record(f"a rather long name of variant {i}", seed) for i in range(15) for seed in (1, 2)])


def _hostile_names(s: SimpleNamespace) -> Any:
    names = ("<script>alert(1)</script>", "a|b_$x$", "lora")
    return s.results([s.record(name, seed) for name in names for seed in (1, 2)])


STATES: dict[str, Callable[[SimpleNamespace], Any]] = {
    "complete": lambda s: s.results(),
    "partial": lambda s: s.results(s.full()[:7], planned=18),
    "one seed": lambda s: s.results(s.full((42,))),
    "eight seeds": lambda s: s.results(s.full(tuple(range(8)))),
    "empty": lambda s: s.results([], planned=18),
    "no reference declared": lambda s: s.results(s.full(), study=s.Study(reference=None, paper=None)),
    "reference missing": _without_reference,
    "reference diverged": _with_diverged_reference,
    "all diverged": lambda s: s.results([s.diverged("sinc", seed, 50) for seed in (1, 2)]),
    "failed": _with_a_failure,
    "nothing measured": _nothing_measured,
    "several tasks": _several_tasks,
    "many variants": _many_variants,
    "hostile names": _hostile_names,
    "bare environment": lambda s: s.results(environment={}),
    "no paper": lambda s: s.results(study=s.Study(paper={})),
    "loss": lambda s: s.results(study=s.Study(metric=s.Metric("loss", "minimize"), paper=None)),
}


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_a_study_renders(synthetic: SimpleNamespace, state: str) -> None:
    results = STATES[state](synthetic)
    folder = write_report(results)
    assert folder == results.out / "report"
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
    folder = write_report(_hostile_names(synthetic))
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


def test_the_terminal_shows_the_table_the_headline_and_the_caveats(synthetic: SimpleNamespace) -> None:
    output = io.StringIO()
    print_summary(synthetic.results(synthetic.full()[:-1], planned=18), Console(file=output, width=160))
    text = output.getvalue()
    assert "Difference to lora" in text
    assert "has the highest mean accuracy" in text
    assert "1 of 18 planned cells is not recorded" in text

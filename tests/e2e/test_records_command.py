"""The records of a study in a file: another folder takes cells from it, and reports read it without any folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import command
import pytest

from lrlora.studies.cli.main import run
from lrlora.studies.record.results import Results
from lrlora.studies.stats.summary import summarise

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore:The ``noload`` loader strategy"),
]

STUDY = """
name: travels
task: {name: files, train: mine.csv}
base: {method: lora}
axes: {r: [1, 2]}
reference: r=1
claims: [{says: more rank is better, of: r=2}]
seeds: [1, 2]
tune: {grid: {training.learning_rate: [1.0e-3]}, seeds: [7], steps: 1}
training: {batch_size: 4, steps: 2, max_length: 8, train_examples: 8, validation_examples: 8, test_examples: 8}
budgets: {smoke: {}}
"""
RUN = ("study", "run", "travels.yaml", "--budget", "smoke")
OF_RUNS = ("mlflow_run_id", "reused_from", "taken_from")


def write_study(folder: Path) -> None:
    (folder / "travels.yaml").write_text(STUDY)
    (folder / "mine.csv").write_text("text,label\n" + "".join(f"number {i},{i % 2}\n" for i in range(80)))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that was run, and a file of its records."""
    folder = tmp_path_factory.mktemp("here")
    write_study(folder)
    ended = command.run(*RUN, "--out", "ran", cwd=folder)
    assert ended.status == 0, ended.output
    written = command.run("study", "export", "ran", "--records", "a.records", cwd=folder)
    assert written.output.startswith("a.records: 6 records, 4 with test examples, "), "those of the tuning stage too"
    return folder


def measured(results: Results) -> Any:
    """The records without the names of their runs, their test examples, and what is concluded from them."""
    records = [{key: value for key, value in one.items() if key not in OF_RUNS} for one in results.records]
    examples = [results.examples[one["mlflow_run_id"]] for one in results.records]
    arrays = [{name: array.tolist() for name, array in columns.items()} for columns in examples]
    verdicts = [(one.outcome, one.p, one.found) for one in summarise(results).verdicts]
    return records, arrays, verdicts


def test_cells_are_taken_from_a_file_and_give_the_same_numbers(here: Path, tmp_path: Path) -> None:
    write_study(tmp_path)
    shutil.copy(here / "a.records", tmp_path)
    taken = command.run(*RUN, "--out", "taken", "--reuse", "a.records", cwd=tmp_path)
    assert taken.status == 0, taken.output
    assert taken.output.count("of 2 cells are taken from it") == 1, "the tuning stage"
    assert "a.records: 4 of 4 cells are taken from it\n" in taken.output
    assert not (tmp_path / "taken" / "logs").exists(), "no worker was started"
    found, original = Results.load(tmp_path / "taken"), Results.load(here / "ran")
    assert found.complete
    assert len(found.examples) == 4
    assert measured(found) == measured(original)
    assert [one["taken_from"] for one in found.records] == [one["mlflow_run_id"] for one in original.records]
    assert run(["study", "export", str(tmp_path / "taken"), "--records", str(tmp_path / "b.records")]) == 0
    assert measured(Results.load(tmp_path / "b.records")) == measured(original)


@pytest.mark.slow
def test_a_changed_cell_is_run_again_and_the_line_says_why(here: Path, tmp_path: Path) -> None:
    write_study(tmp_path)
    with (tmp_path / "mine.csv").open("a") as file:
        file.write("one more,1\n")
    fewer = ("--set", "tune=null", "--set", "seeds=[1]")
    ended = command.run(*RUN, "--out", "out", "--reuse", str(here / "a.records"), *fewer, cwd=tmp_path)
    assert ended.status == 0, ended.output
    (line,) = [line for line in ended.output.splitlines() if "taken from it" in line]
    assert line.startswith(f"{here / 'a.records'}: 0 of 2 cells are taken from it; 2 are not: ")
    assert "split of the data" in line
    (tmp_path / "cut.records").write_bytes((here / "a.records").read_bytes()[:-500])
    refused = command.run(*RUN, "--out", "other", "--reuse", "cut.records", cwd=tmp_path)
    assert refused.status == 2
    assert refused.output.strip().splitlines()[-1].startswith("lrlora: error: cut.records: is damaged or cut short (")
    assert not (tmp_path / "other").exists()


def test_reports_and_claims_read_a_file(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(here / "a.records", tmp_path)
    monkeypatch.chdir(tmp_path)
    for arguments in (("claims", "--json"), ("export", "--format", "json")):
        found = []
        for place in ("a.records", str(here / "ran")):
            assert run(["study", *arguments, place]) == 0
            found.append(json.loads(capsys.readouterr().out))
        assert found[0] == found[1]
    for more, folder in ((), "a-report"), (("--out", "mine"), "mine"):
        assert run(["study", "report", "a.records", *more]) == 0
        assert "../artifacts" not in Path(folder, "index.html").read_text(encoding="utf-8")
    assert run(["study", "export", "a.records", "--records", "b.records"]) == 0
    assert Path("b.records").read_bytes() == Path("a.records").read_bytes()
    capsys.readouterr()
    for wrong, line in (
        (("export", "a.records", "--records", "c.records", "--format", "md"), "leave out --format and --out"),
        (("report", "a.records", "--out", "b.records"), "b.records: cannot be written: "),
        (
            ("claims", "a.records", "mine/index.html"),
            "mine/index.html: is neither the folder of a study nor a file ",
        ),
    ):
        assert run(["study", *wrong]) == 2
        said = capsys.readouterr().err
        assert line in said
        assert len(said.splitlines()) == 1

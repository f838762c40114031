"""The record of runs in MLflow: it is whole, found again, and never made up."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.checks import check_folder
from lrlora.studies.record import tracking
from lrlora.studies.record.addresses import check_address, masked, public
from lrlora.studies.record.provenance import environment_of, provenance_differences
from lrlora.studies.record.results import Results, read_records, write_study_file
from lrlora.studies.record.run_record import RunRecord
from lrlora.studies.record.tracking import Tracker
from lrlora.studies.record.versions import describe_earlier
from lrlora.studies.spec.cells import Cell, expand_cells
from lrlora.studies.spec.fingerprints import Fingerprints
from lrlora.studies.spec.study import Study

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore:The ``noload`` loader strategy")
OLD = Path(__file__).parent / "data" / "old_study"
ENVIRONMENT = {"python": "3.11", "packages": {"torch": "2.12.0"}, "git": {"commit": "abc", "dirty": False}, "cores": 2}


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Fingerprints of data and backbone, so that none is read; a test may change them."""
    found = {"train": "one", "validation": "two", "test": "three"}
    monkeypatch.setattr(Fingerprints, "data", lambda self, task, split: found.get(split, split))
    monkeypatch.setattr(Fingerprints, "weights", lambda self, backbone: "four")
    return found


def study(name: str = "tiny", **changes: Any) -> Study:
    plain: dict[str, Any] = {"name": name, "base": {"method": "lora"}, "axes": {"r": [1, 2]}, "seeds": [1]}
    return Study.from_dict(plain | changes)


def finished(cell: Cell, accuracy: float = 0.5) -> dict[str, Any]:
    figures = {"metrics": {"accuracy": accuracy, "loss": float("inf")}, "train_loss": [1.0, 0.5]}
    return RunRecord.of(cell).plain() | {"status": "finished"} | figures


def record(tracker: Tracker, cell: Cell, accuracy: float = 0.5, **environment: Any) -> str:
    run = tracker.start_cell(cell, ENVIRONMENT | environment)
    nothing = tracker.out / "nothing"
    nothing.mkdir(exist_ok=True)
    run.log_step(1, {"train/loss": 1.0})
    run.finish(finished(cell, accuracy) | {"mlflow_run_id": run.run_id}, "finished", nothing)
    nothing.rmdir()
    return run.run_id


def begun(out: Path, cells: list[Cell], **changes: Any) -> Tracker:
    out.mkdir(exist_ok=True)
    tracker = Tracker.open(out, "tiny")
    write_study_file(out, study(**changes), "smoke", ENVIRONMENT, cells)
    return tracker


@pytest.mark.parametrize("name", ["a?b", "50%25", "{b}", "a#b c"])
def test_a_folder_of_any_name_holds_all_that_is_written(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    cells = expand_cells(study())
    tracker = begun(Path(name), cells)
    tracker.check_place()
    run = record(tracker, cells[0])
    assert [path.name for path in Path().iterdir()] == [name]
    assert (Path(name) / "artifacts" / run / "artifacts" / "result.json").is_file()
    Path(name).rename("moved")
    results = Results.load(Path("moved"))
    assert [found["metrics"] for found in results.records] == [{"accuracy": 0.5, "loss": None}]
    assert results.environment["packages"] == {"torch": "2.12.0"}
    assert results.records[0]["provenance"]["parts"] == cells[0].parts
    with pytest.raises(StudyError, match="was moved here"):
        Tracker.open(Path("moved"), "tiny").check_place()


def damaged(database: Path, how: str) -> None:
    if how == "is missing":
        database.unlink()
    elif how == "is empty":
        database.write_bytes(b"")
    elif how == "corrupt":
        database.write_bytes(b"no database" * 1000)
    elif how == "another version of MLflow":
        with sqlite3.connect(database) as opened:
            opened.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
        opened.close()
    elif how == "does not hold the runs":
        shutil.copy(database.parent.parent / "other" / "mlflow.db", database)


@pytest.mark.parametrize(
    "how", ["is missing", "is empty", "corrupt", "another version of MLflow", "does not hold the runs"]
)
def test_a_damaged_store_is_said_in_one_line_and_nothing_is_made(tmp_path: Path, how: str) -> None:
    cells = expand_cells(study())
    begun(tmp_path / "other", cells)
    record(begun(tmp_path / "out", cells), cells[0])
    database = tmp_path / "out" / "mlflow.db"
    damaged(database, how)
    moved = tmp_path / "elsewhere"  # MLflow keeps what it opened in this process
    (tmp_path / "out").rename(moved)
    before = sorted(path.relative_to(moved) for path in moved.rglob("*"))
    for open_again in (lambda: Tracker.open(moved, "tiny"), lambda: Results.load(moved)):
        with pytest.raises(StudyError, match=how) as error:
            open_again()
        assert "\n" not in str(error.value)
    assert sorted(path.relative_to(moved) for path in moved.rglob("*")) == before


def test_what_a_killed_process_had_half_written_is_rolled_back(tmp_path: Path) -> None:
    """SQLite leaves a journal, from which the next process that opens the store mends it."""
    Tracker.open(tmp_path, "tiny")
    half = """
import os, sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("PRAGMA cache_size = 1")
store.execute("BEGIN IMMEDIATE")
for i in range(200):
    store.execute("INSERT INTO experiment_tags VALUES (?, ?, 0)", (f"key {i}", "x" * 1000))
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", half, str(tmp_path / "mlflow.db")], check=False)
    assert (tmp_path / "mlflow.db-journal").stat().st_size > 0
    assert Tracker.open(tmp_path, "tiny").cell_runs() == {}
    assert not (tmp_path / "mlflow.db-journal").exists()


def test_a_record_that_is_gone_is_said_and_not_run_again(tmp_path: Path) -> None:
    cells = expand_cells(study())
    run = record(begun(tmp_path, cells), cells[0])
    (tmp_path / "artifacts" / run / "artifacts" / "result.json").unlink()
    with pytest.raises(StudyError, match=rf"run {run}: its result.json cannot be read"):
        read_records(tmp_path, "tiny")


def test_a_long_parameter_is_shortened_and_whole_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")
    names = [f"layer.{i}.query" for i in range(700)]
    (cell,) = expand_cells(study(axes={}, base={"method": "lora", "target_modules": names}))
    tracker = begun(tmp_path, [cell])
    run = tracker.client.get_run(record(tracker, cell))
    value = run.data.params["target_modules"]
    assert len(value) == 500
    assert value.endswith(f"… ({len(json.dumps(names))} characters, whole in result.json)")
    found = tracker.read_record(run)
    assert found is not None
    assert found.config["target_modules"] == names


def test_cells_of_one_store_are_found_by_other_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'shared.db'}")
    for name in ("one", "two", "own"):
        (tmp_path / name).mkdir()
    first = Tracker.open(tmp_path / "one", "one", tracking_uri="env")
    second = Tracker.open(tmp_path / "two", "two", tracking_uri="env")
    assert Tracker.open(tmp_path / "own", "own").address is None, "the shell's store is used only if asked for"
    ran, other = expand_cells(study("one"))
    run = record(first, ran, 0.75)
    same, _ = expand_cells(study("two", variants={"mine": {"r": 1}}, axes={}))[0], other
    found = second.find_finished([same.id, other.id])
    assert {cell: one.info.run_id for cell, one in found.items()} == {ran.id: run}
    assert second.cell_runs() == {}
    taken = second.reuse(same, found[same.id])
    assert (taken.variant, taken.study, taken.reused_from) == ("mine", "two", run)
    again = Tracker.open(tmp_path / "two", "two", make=False)
    stored = again.read_record(again.cell_runs()[same.id])
    assert stored is not None
    assert stored.metrics["accuracy"] == 0.75
    assert stored.provenance == taken.provenance
    with pytest.raises(StudyError, match="give another --out"):
        Tracker.open(tmp_path / "two", "two", tracking_uri="sqlite:///elsewhere.db")


def test_a_store_without_runs_of_the_study_has_no_records(tmp_path: Path) -> None:
    tracking.open_client(tmp_path)
    assert read_records(tmp_path, "tiny") == {}
    assert not (tmp_path / "tracking.json").exists()


def test_changed_data_make_new_records_and_the_old_are_left_out(tmp_path: Path, data: dict[str, str]) -> None:
    cells = expand_cells(study())
    tracker = begun(tmp_path, cells)
    for cell in cells:
        record(tracker, cell, 0.1)
    data["train"] = "changed"
    again = expand_cells(study())
    assert describe_earlier(again, read_records(tmp_path, "tiny")) == [
        "the train split of the data changed since 2 cells ran: they will run again (--keep-old shows them)"
    ]
    begun(tmp_path, again)
    record(tracker, again[0], 0.9)
    results = Results.load(tmp_path)
    assert [found["metrics"]["accuracy"] for found in results.records] == [0.9]
    assert not results.complete
    assert results.notes[0].startswith("the train split of the data changed since 2 cells ran: they were left out")
    old = Results.load(tmp_path, keep_old=True)
    assert [found["metrics"]["accuracy"] for found in old.records] == [0.1, 0.1]


def test_cells_that_were_run_with_other_versions_are_named(tmp_path: Path) -> None:
    cells = expand_cells(study())
    tracker = begun(tmp_path, cells)
    record(tracker, cells[0])
    record(tracker, cells[1], packages={"torch": "2.13.0"}, git={"commit": "def", "dirty": True})
    results = Results.load(tmp_path)
    assert "The cells were run with different torch: 2.12.0 (1 cell), 2.13.0 (1 cell)." in results.notes
    assert results.environment["git"] == {"commit": "abc (1 cell), def (1 cell)", "dirty": True}
    assert provenance_differences(results.records[:1]) == []
    assert environment_of([], {"python": "3"}) == {"python": "3"}


def test_a_cell_without_data_is_not_recorded(tmp_path: Path, data: dict[str, str]) -> None:
    data["train"] = "missing"
    (cell, _) = expand_cells(study())
    with pytest.raises(StudyError, match="the train split of the data cannot be read"):
        Tracker.open(tmp_path, "tiny").start_cell(cell, ENVIRONMENT)


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    """A folder as lrlora 0.1.0 left it; the records and tags are from a real run."""
    out = tmp_path / "old"
    out.mkdir()
    client = tracking.open_client(out)
    experiment = client.create_experiment("tiny", artifact_location=(out / "artifacts").as_uri())
    parent = client.create_run(experiment, tags={"lrlora.study": "tiny"}).info.run_id
    for saved in json.loads((OLD / "runs.json").read_text()):
        run = client.create_run(experiment, tags=saved["tags"] | {"mlflow.parentRunId": parent}).info.run_id
        client.log_text(run, json.dumps(saved["result"]), "result.json")
        client.set_terminated(run, "FINISHED")
    shutil.copy(OLD / "study.json", out)
    return out


def test_a_folder_of_the_first_version_is_reported_and_not_gone_on_with(old_folder: Path) -> None:
    before = sorted(old_folder.rglob("*"))
    results = Results.load(old_folder)
    assert sorted((one["variant"], one["seed"]) for one in results.records) == [
        ("lora", 1),
        ("lora", 2),
        ("sinc", 1),
        ("sinc", 2),
    ]
    assert results.complete
    assert results.environment["packages"]["lrlora"] == "0.1.0"
    assert sorted(old_folder.rglob("*")) == before, "reading writes nothing"
    with pytest.raises(StudyError, match=r"was run by lrlora 0\.1\.0, whose records do not say .* give another --out"):
        check_folder(old_folder, results.study)


def test_what_is_no_record_is_refused_with_the_field() -> None:
    with pytest.raises(StudyError, match=r"run 7: is no record of a run: seed: "):
        RunRecord.read('{"cell": "x", "study": "s", "variant": "v", "method": "m", "seed": "one"}', "run 7")
    for text in ("[]", "{", "null", "nothing"):
        with pytest.raises(StudyError, match="run 7: is no record of a run: ") as error:
            RunRecord.read(text, "run 7")
        assert "\n" not in str(error.value)


def test_a_record_with_a_field_of_another_version_is_read_without_it(tmp_path: Path) -> None:
    cells = expand_cells(study())
    tracker = begun(tmp_path, cells)
    runs = [record(tracker, cells[0], packages={"lrlora": "99.0"})]
    runs.append(record(tracker, cells[1], packages={"lrlora": version("lrlora")}))
    files = [tmp_path / "artifacts" / run / "artifacts" / "result.json" for run in runs]
    texts = [file.read_text() for file in files]
    for file, text in zip(files, texts, strict=True):
        plain = json.loads(text)
        assert "left_out" not in plain
        file.write_text(json.dumps(plain | {"colour": 1, "provenance": plain["provenance"] | {"moon": 2}}))
    with pytest.raises(StudyError, match=rf"run {runs[1]}: is no record of a run: (colour|provenance\.moon): "):
        Results.load(tmp_path)
    files[1].write_text(texts[1])
    results = Results.load(tmp_path)
    assert [record["metrics"]["accuracy"] for record in results.records] == [0.5, 0.5]
    said = [
        note for note in results.notes if note.startswith("1 of 2 records were written by lrlora 99.0: fields that")
    ]
    assert [note.endswith("(colour, provenance.moon).") for note in said] == [True]


SECRET = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=6).map(lambda text: f"Zq{text}")


@given(SECRET, SECRET, st.sampled_from(["http", "postgresql+psycopg", "mysql"]))
def test_no_secret_of_an_address_is_shown_or_written(user: str, password: str, scheme: str) -> None:
    address = f"{scheme}://{user}:{password}@host:5000/store?password={password}&x=1"
    for text in (masked(f"cannot open {address}: no"), public(address)):
        assert user not in text
        assert password not in text
        assert "host:5000/store" in text


@given(st.text(min_size=6).map(lambda text: f"Zq{text}"))
def test_a_password_that_cannot_be_told_from_the_address_is_refused_and_not_shown(password: str) -> None:
    address = f"postgresql://me:{password}@host/store"
    try:
        check_address("--storage", address)
    except StudyError as refused:
        said = [str(refused)]
    else:
        said = [masked(address), public(address)]
        assert said == ["postgresql://***@host/store", "postgresql://host/store"]
    assert password not in said[0]
    quoted = f"postgresql://me:{quote(password, safe='')}@[::1]:5432/store?sslmode=require"
    check_address("--storage", quoted)
    assert masked(quoted) == "postgresql://***@[::1]:5432/store?sslmode=require"

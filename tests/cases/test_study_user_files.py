"""What people's own files hold, from spreadsheets, warehouses and annotation tools: read as written, or one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks import SPLITS, Task, make_task

WORDS = [f"text number {i}" for i in range(40)]


def table(path: Path, rows: list[tuple[Any, Any]], head: tuple[str, str] = ("text", "label")) -> str:
    """Write rows of texts and classes in the format that a path's ending says."""
    if path.suffix == ".parquet":
        parquet.write_table(pa.table({name: [row[i] for row in rows] for i, name in enumerate(head)}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(head, row, strict=True))) + "\n" for row in rows), "utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps([dict(zip(head, row, strict=True)) for row in rows]), "utf-8")
    else:
        comma = "\t" if path.suffix == ".tsv" else ","
        path.write_text("".join(f"{a}{comma}{b}\n" for a, b in [head, *rows]), "utf-8")
    return str(path)


def rows_of(*classes: Any, count: int = 40) -> list[tuple[str, Any]]:
    return [(word, classes[i % len(classes)]) for i, word in enumerate(WORDS[:count])]


def refusal(options: dict[str, Any], task: str = "files") -> str:
    with pytest.raises(StudyError) as caught:
        make_task(task, options).prepare(print)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read(options: dict[str, Any], task: str = "files") -> tuple[Task, list[str]]:
    made, said = make_task(task, options), []
    made.prepare(said.append)
    return made, said


def texts(task: Task) -> set[str]:
    return {text for split in SPLITS for text in task.split(split).texts}


# -- as it is written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
@pytest.mark.parametrize(
    "classes",
    [
        ("01", "1"),
        ("1.10", "1.1"),
        ("1e2", "100"),
        ("None", "some"),
        ("NA", "null", "nan"),
        ("True", "true"),
        ("-", "+"),
    ],
    ids=str,
)
def test_classes_are_text_as_written(tmp_path: Path, ending: str, classes: tuple[str, ...]) -> None:
    task, said = read({"train": table(tmp_path / f"t{ending}", rows_of(*classes))})
    assert task.labels == tuple(sorted(classes))
    of = {text: task.labels[label] for s in SPLITS for text, label in zip(*vars(task.split(s)).values(), strict=True)}
    assert of == dict(rows_of(*classes))
    alike = {"01", "1.10", "1e2", "True"} & set(classes)
    assert [line for line in said if "are taken for two classes" in line][: len(alike)] == said


def test_numbers_of_json_are_classes_as_written(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text("".join(f'{{"text": "{w}", "label": {("1.10", "1.1")[i % 2]}}}\n' for i, w in enumerate(WORDS)))
    assert read({"train": str(file)})[0].labels == ("1.1", "1.10")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_what_looks_like_a_missing_text_is_a_text(tmp_path: Path, ending: str) -> None:
    rows = [(word, "ab"[i % 2]) for i, word in enumerate(["NA", "null", "nan", "None", "#N/A", "-inf", "0", *WORDS])]
    assert texts(read({"train": table(tmp_path / f"t{ending}", rows)})[0]) == {text for text, _ in rows}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_marks_and_empty_lines_change_nothing(tmp_path: Path, end: str, mark: bytes) -> None:
    lines = ["text,label", "", *(f'"{text}, and more",{label}' for text, label in rows_of("a", "b")), "   ", "", ""]
    file = tmp_path / "t ü 漢.csv"
    file.write_bytes(mark + end.join(lines).encode())
    assert texts(read({"train": str(file)})[0]) == {f"{word}, and more" for word in WORDS}


def test_a_field_may_hold_quotes_line_ends_and_30_megabytes(tmp_path: Path) -> None:
    long = "word " * 6_000_000
    file = tmp_path / "t.csv"
    quoted = "".join(f'"a ""{w}"",\nand {w}",{"ab"[i % 2]}\n' for i, w in enumerate(WORDS))
    file.write_text(f"text,label\n{quoted}{long},a\n")
    assert texts(read({"train": str(file)})[0]) == {long, *(f'a "{word}",\nand {word}' for word in WORDS)}


# -- what is refused, and where -----------------------------------------------------------------------------

ODD_FILES: dict[str, tuple[str, bytes, str]] = {
    "an unquoted comma in every row": (
        "t.csv",
        b"text,label\na, b,pos\nc, d,neg\n",
        "line 2: 3 fields, where",
    ),
    "one field too few": ("t.csv", b"text,label\na,pos\n\nb\n", "line 4: 1 field, where the header has 2"),
    "another delimiter": ("t.csv", b"text;label\na;pos\n", "the header is separated by a semicolon, not by a comma"),
    "tabs in a csv": ("t.csv", b"text\tlabel\na\tpos\n", "separated by a tab, not by a comma"),
    "two columns of one name": ("t.csv", b"text,label,label\na,x,y\n", "columns 2 and 3 are both called 'label'"),
    "a column that is not there": ("t.csv", b"text,lable\na,x\n", "no column 'label'; did you mean 'lable'?"),
    "a column with a space": ("t.csv", b"text, label\na,x\n", "did you mean ' label'?"),
    "an open quote": ("t.csv", b'text,label\n"a,pos\nb,neg\n', "line 2: a quote opens and never closes"),
    "text behind a quote": ("t.csv", b'text,label\na,x\n"b"c,x\n', "line 3: text follows a closing quote"),
    "a header only": ("t.csv", b"text,label\n", "holds a header and no rows"),
    "nothing": ("t.csv", b"", "is empty"),
    "empty lines only": ("t.csv", b"\n\n  \n", "is empty"),
    "an empty text": ("t.csv", b"text,label\n,x\n", "line 2: column 'text' is empty"),
    "an empty class": ("t.csv", b"text,label\na,x\nb, \n", "line 3: column 'label' is empty"),
    "latin-1": ("t.csv", "text,label\nf\u00fcr,x\n".encode("latin-1"), "line 2: byte 0xfc is not UTF-8"),
    "UTF-16": ("t.csv", "text,label\na,x\n".encode("utf-16"), "is in UTF-16"),
    "UTF-16 without a mark": ("t.csv", "text,label\na,x\n".encode("utf-16-le"), "line 1: a NUL byte: UTF-16"),
    "a NUL byte": ("t.csv", b"text,label\na,x\nb\0,y\n", "line 3: a NUL byte"),
    "a spreadsheet": ("t.csv", b"PK\x03\x04\x14\x00\x06\x00", "a NUL byte"),
    "a line that is cut": ("t.jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "la', "line 2: column 15: not JSON"),
    "a list in a line": ("t.jsonl", b'["a", 1]\n', "line 1: holds a list, not an object"),
    "a key twice": ("t.jsonl", b'{"text": "a", "label": 1, "label": 2}\n', "line 1: the key 'label' stands twice"),
    "a row without a class": ("t.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}\n', "line 2: has no 'label'"),
    "a class of null": ("t.jsonl", b'{"text": "a", "label": null}\n', "line 1: column 'label' holds nothing"),
    "a class of NaN": ("t.jsonl", b'{"text": "a", "label": NaN}\n', "line 1: column 'label' holds nothing"),
    "nested classes": ("t.jsonl", b'{"text": "a", "label": ["x"]}\n', "line 1: column 'label' holds a list"),
    "a number as a text": ("t.jsonl", b'{"text": 5, "label": 1}\n', "line 1: column 'text' holds a number, not text"),
    "half a character": ("t.jsonl", b'{"text": "a\\ud83d", "label": 1}\n', "line 1: column 'text': \\ud83d is half"),
    "nested without end": ("t.jsonl", b'{"text": ' + b"[" * 100_000, "line 1: lists or objects are nested too deeply"),
    "1 and the text 1": (
        "t.jsonl",
        b'{"text": "a", "label": 1}\n{"text": "b", "label": "1"}\n',
        "t.jsonl: line 2: column 'label' holds text, and a number in",
    ),
    "true and the text true": (
        "t.json",
        b'[{"text": "a", "label": true}, {"text": "b", "label": "true"}]',
        "row 2: column 'label' holds text, and true or false in",
    ),
    "a wrong list": ("t.json", b'[{"text": "a", "label": 1},\n {"text"]', "line 2, column 9: not JSON"),
    "one object": ("t.json", b'{\n "data": []\n}', "holds an object; a list of objects is wanted"),
    "no Parquet": ("t.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
    "an empty Parquet": ("t.parquet", b"", "cannot be read as Parquet"),
}


@pytest.mark.parametrize("case", ODD_FILES)
def test_what_a_file_should_not_hold_is_said_with_its_place(tmp_path: Path, case: str) -> None:
    name, content, says = ODD_FILES[case]
    (tmp_path / name).write_bytes(content)
    message = refusal({"train": str(tmp_path / name)})
    assert says in message
    assert len(message) < 400 + len(str(tmp_path)) * 2


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array(["a", None]), "row 2: column 'label' holds nothing"),
        (pa.array([1.0, float("nan")]), "row 2: column 'label' holds nothing"),
        (pa.array([["a"], ["b"]]), "row 1: column 'label' holds a list"),
        (pa.array([{"a": 1}, {"a": 2}]), "row 1: column 'label' holds an object"),
        (pa.array([b"a", b"b"]), "row 1: column 'label' holds a bytes"),
    ],
    ids=["null", "nan", "list", "struct", "bytes"],
)
def test_what_a_parquet_column_should_not_hold_is_said_with_its_row(
    tmp_path: Path, column: pa.Array, says: str
) -> None:
    parquet.write_table(pa.table({"text": ["a", "b"], "label": column}), tmp_path / "t.parquet")
    assert says in refusal({"train": str(tmp_path / "t.parquet")})


@pytest.mark.parametrize("options", [{"train": 5}, {"train": ["a.csv"]}, {"train": "x" * 400 + ".csv"}, {"train": "."}])
def test_what_is_no_path_is_refused(options: dict[str, Any]) -> None:
    assert refusal(options).startswith("task files: train: ")


# -- several files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("trained", "judged", "says"),
    [
        ((0, 1), (0.0, 1.0), "classes that training never has: '0.0', '1.0' (training has: '0', '1')"),
        (("pos", "neg"), ("positive", "negative"), "'negative', 'positive'"),
        (("pos", "neg"), ("pos ", "neg"), "a class that training never has: 'pos '; did you mean 'pos'?"),
    ],
    ids=["numbers", "words", "space"],
)
def test_a_class_that_training_never_has_is_refused(
    tmp_path: Path, split: str, ending: str, trained: tuple[Any, ...], judged: tuple[Any, ...], says: str
) -> None:
    train = table(tmp_path / f"train{ending}", rows_of(*trained))
    other = table(tmp_path / f"other{ending}", [(f"new {text}", label) for text, label in rows_of(*judged, count=8)])
    message = refusal({"train": train, split: other})
    assert f"the {split} split has " in message
    assert says in message
    assert f"other{ending}: " in message


def test_a_rare_class_stays_in_training_where_splits_are_carved_out(tmp_path: Path) -> None:
    rows = rows_of("a", "b") + [(f"odd {i}", f"rare {i}") for i in range(20)]
    task, _ = read({"train": table(tmp_path / "t.csv", rows)})
    train = task.split("train")
    assert len(task.labels) == 22
    assert set(train.labels) == set(range(22))
    assert sum(len(task.split(split)) for split in SPLITS) == len(rows)


def test_one_class_is_refused_and_so_are_too_few_rows(tmp_path: Path) -> None:
    assert "holds one class only: 'a'" in refusal({"train": table(tmp_path / "one.csv", rows_of("a"))})
    assert "too few rows" in refusal({"train": table(tmp_path / "few.csv", rows_of("a", "b", count=2))})
    every = table(tmp_path / "every.csv", [(word, word) for word in WORDS])
    assert "too few rows of each class" in refusal({"train": every})


def test_an_example_in_two_files_is_counted_and_left_out_of_training(tmp_path: Path) -> None:
    rows = rows_of("a", "b")
    train = table(tmp_path / "train.csv", [*rows, rows[0]])
    test = table(tmp_path / "test.csv", [(f"{text} ", label) for text, label in rows[:7]])
    task, said = read({"train": train, "test": test})
    assert any("8 rows of" in line and "test.csv as well" in line for line in said)
    assert any("1 row repeat" in line for line in said)
    assert not {" ".join(text.split()) for text in task.split("train").texts} & {text for text, _ in rows[:7]}
    assert "all of it is in the other splits" in refusal({"train": test, "test": test})


def test_a_text_with_two_classes_is_said(tmp_path: Path) -> None:
    rows = [*rows_of("a", "b"), (WORDS[0], "b")]
    task, said = read({"train": table(tmp_path / "t.csv", rows)})
    assert "line 42: class 'b' of a text that has the class 'a' in" in said[-1]
    assert sum(len(task.split(split)) for split in SPLITS) == len(WORDS)


# -- other kinds of tasks -----------------------------------------------------------------------------------


def test_answers_are_read_in_one_way_for_all_questions(tmp_path: Path) -> None:
    def ask(answers: Callable[[int], Any]) -> str:
        rows = [{"question": f"{i} + 1?", "options": [i % 3, i % 3 + 1, 9], "answer": answers(i)} for i in range(30)]
        file = tmp_path / "t.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(file)

    # The number 1 is also an option of two thirds of the questions, and not what is meant there.
    task, _ = read({"train": ask(lambda i: 1)}, "question-files")
    assert set(task.split("train").labels) == {1}
    mixed = refusal({"train": ask(lambda i: "B" if i == 4 else i % 3 + 1)}, "question-files")
    assert "line 5: the answer 'B' is not the text of an option, as 29 of 30 answers are" in mixed


def test_a_text_that_lacks_characters_is_refused_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("eins\n\nfür\n".encode("latin-1"))
    assert "t.txt: line 3: byte 0xfc is not UTF-8" in refusal({"train": str(tmp_path / "t.txt")}, "text-files")
    (tmp_path / "mark.txt").write_bytes("\ufeff".encode() + b"\r\n\r\n".join(b"word %d" % i for i in range(30)))
    task, _ = read({"train": str(tmp_path / "mark.txt")}, "text-files")
    assert {p for s in SPLITS for text in task.split(s).texts for p in text.split("\n\n")} == {
        f"word {i}" for i in range(30)
    }

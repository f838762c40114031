"""The user's own texts and questions: read as they are meant, split without overlap, refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks import SPLITS, make_task
from lrlora.studies.testing import check_task

PARAGRAPHS = [f"Paragraph {i} of a text.\nIt has two lines." for i in range(40)]


def write(path: Path, content: str | list[dict[str, Any]]) -> str:
    text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
    path.write_text(text, encoding="utf-8")
    return str(path)


def questions(count: int = 40, **changes: Any) -> list[dict[str, Any]]:
    return [
        {"question": f"What is {i} + 1?", "options": [str(i), str(i + 1), "none"], "answer": "B"} | changes
        for i in range(count)
    ]


@pytest.mark.parametrize("ending", [".txt", ".md", ".jsonl"])
def test_texts_are_split_by_paragraphs_and_lose_nothing(tmp_path: Path, ending: str) -> None:
    whole = "\n\n".join(PARAGRAPHS) if ending != ".jsonl" else [{"text": paragraph} for paragraph in PARAGRAPHS]
    options: dict[str, object] = {"train": write(tmp_path / f"mine{ending}", whole)}  # type: ignore[arg-type]
    task = make_task("text-files", options)
    found = {split: [p for text in task.split(split).texts for p in text.split("\n\n")] for split in SPLITS}
    assert {split: len(paragraphs) for split, paragraphs in found.items()} == {"train": 32, "validation": 4, "test": 4}
    assert sorted(p for paragraphs in found.values() for p in paragraphs) == sorted(PARAGRAPHS)
    if ending != ".jsonl":
        assert found["train"] == PARAGRAPHS[8:], "a plain text keeps its order"
    assert {outcome.status for outcome in check_task("text-files", options)} == {"passed", "not applicable"}


def test_a_paragraph_of_the_test_file_is_not_trained_on(tmp_path: Path) -> None:
    train = write(tmp_path / "train.txt", "\n\n".join(PARAGRAPHS))
    test = write(tmp_path / "test.txt", "\n\n".join(PARAGRAPHS[20:25]).replace("text.\n", "text.  \n"))
    task = make_task("text-files", {"train": train, "test": test})
    trained = "\n\n".join(task.split("train").texts + task.split("validation").texts)
    assert not any(paragraph.split("\n")[0] in trained for paragraph in PARAGRAPHS[20:25])


@pytest.mark.parametrize("answer", ["the text", "the letter", "the number"])
def test_a_right_answer_is_named_by_its_text_its_letter_or_its_number(tmp_path: Path, answer: str) -> None:
    rows = questions()
    for i, row in enumerate(rows):
        row["options"] = [f"option {i}", f"option {i + 1}", "none"]
        row["answer"] = {"the text": row["options"][1], "the letter": "B", "the number": 1}[answer]
    options: dict[str, object] = {"train": write(tmp_path / "mine.jsonl", rows)}
    task = make_task("question-files", options)
    assert task.labels == ("A", "B", "C")
    for split in SPLITS:
        assert set(task.split(split).labels) == {1}
    assert {outcome.status for outcome in check_task("question-files", options)} == {"passed"}


def test_options_may_stand_in_columns_of_their_own(tmp_path: Path) -> None:
    rows = "".join(f"number {i},even,odd,{'odd' if i % 2 else 'even'}\n" for i in range(30))
    file = write(tmp_path / "mine.csv", "ask,one,other,right\n" + rows)
    task = make_task(
        "question-files", {"train": file, "question": "ask", "options": ["one", "other"], "answer": "right"}
    )
    examples = task.split("train")
    assert set(examples.options) == {("even", "odd")}
    assert examples.labels == [int(text.split()[1]) % 2 for text in examples.texts]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (questions(answer="D"), "the answer 'D' is none of the options"),
        (questions(options=["same", "same", "none"]), "an option stands there twice"),
        (questions(options=["only"], answer="A"), "have 1 options"),
        ([*questions(), {"question": "odd", "options": ["x", "y"], "answer": "A"}], "have 2 and 3 options"),
        (questions(options="x"), "not a list of options"),
        ([{"question": "?", "choices": ["x", "y"], "answer": "A"}], "no column 'options'"),
    ],
)
def test_what_is_wrong_with_questions_is_said_in_one_line(tmp_path: Path, rows: Any, says: str) -> None:
    with pytest.raises(StudyError) as caught:
        make_task("question-files", {"train": write(tmp_path / "mine.jsonl", rows)}).prepare(print)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_wrong_with_texts_is_said_in_one_line(tmp_path: Path) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes("für\n\nalle".encode("latin-1"))
    for options, says in (
        ({"train": str(tmp_path / "gone.txt")}, "No such file"),
        ({"train": str(tmp_path / "mine.doc")}, "not one of .csv"),
        ({"train": str(latin)}, "line 1: byte 0xfc is not UTF-8"),
        ({"train": write(tmp_path / "one.txt", "One paragraph.")}, "no paragraph is left for the"),
        ({"train": write(tmp_path / "a.jsonl", [{"txt": "x"}])}, "no column 'text'; did you mean 'txt'?"),
        ({"trian": "x"}, "unknown key 'trian'; did you mean 'train'?"),
    ):
        with pytest.raises(StudyError) as caught:
            make_task("text-files", dict(options)).prepare(print)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)

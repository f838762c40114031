"""The user's own questions with options: JSONL, CSV or Parquet."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from string import ascii_uppercase
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.task import Questions, Task
from lrlora.studies.tasks.user_files import TABLES, carve, check_files, distinct, read_table

Row = tuple[str, tuple[str, ...], int]


class QuestionFiles(Task):
    """Questions, each with the same number of options, from files.

    Where ``validation`` or ``test`` is not given, a tenth of the training file stands for each, by a fixed shuffle.
    A question that occurs in several splits is kept in the test split first, then in the validation split.

    Args:
        train: The file to train on.
        validation: The file to validate on during training.
        test: The file of the final figures.
        question: The column of questions.
        options: The column that holds a list of options, or several columns with one option each.
        answer: The column of right answers: the text of the option; or else its letter, A for the first; or else its
            number, 0 for the first.

    Raises:
        StudyError: A file does not exist or is of no known kind.
    """

    kind = "multiple-choice"

    def __init__(
        self,
        train: str,
        validation: str | None = None,
        test: str | None = None,
        question: str = "question",
        options: str | list[str] = "options",
        answer: str = "answer",
    ) -> None:
        self.files = {"train": train, "validation": validation, "test": test}
        self.question, self.options, self.answer = question, options, answer
        check_files(self.files, TABLES, "question-files")

    @property
    def labels(self) -> tuple[str, ...]:
        """A letter for each option."""
        return tuple(ascii_uppercase[: len(self._splits["train"].options[0])])

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Read the files once, so that what is wrong with them is said before a run starts."""
        _ = self._splits

    def split(self, name: str) -> Questions:
        """The questions of a split, in the order of the file, or shuffled where the split was carved out."""
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Questions]:
        read = {split: self._read(file) for split, file in self.files.items() if file is not None}
        rows = distinct(carve(read), lambda row: repr(row[:2]), "question-files")
        counts = {len(options) for found in rows.values() for _, options, _ in found}
        if len(counts) > 1 or not 2 <= min(counts) <= len(ascii_uppercase):
            told = " and ".join(map(str, sorted(counts)))
            raise StudyError(f"task question-files: questions have {told} options; all must have as many, two at least")
        return {split: Questions.from_rows(found) for split, found in rows.items()}

    def _read(self, file: str) -> list[Row]:
        columns = [self.options] if isinstance(self.options, str) else self.options
        rows = read_table(file, (self.question, *columns, self.answer), "question-files")
        return [self._row(row, columns, file) for row in rows]

    def _row(self, row: dict[str, Any], columns: list[str], file: str) -> Row:
        where = f"task question-files: {file}"
        given = row[self.options] if isinstance(self.options, str) else [row[column] for column in columns]
        if not isinstance(row[self.question], str) or not isinstance(given, list) or None in given:
            raise StudyError(f"{where}: a row holds no question or no list of options: {row!r}")
        options, answer = tuple(map(str, given)), str(row[self.answer]).strip()
        if len(set(options)) < len(options):
            raise StudyError(f"{where}: an option stands there twice: {row!r}")
        numbers = [str(i) for i in range(len(options))]
        for names in (options, tuple(ascii_uppercase[: len(options)]), tuple(numbers)):
            if answer in names:
                return row[self.question], options, names.index(answer)
        raise StudyError(f"{where}: the answer {answer!r} is none of the options, their letters or numbers: {row!r}")

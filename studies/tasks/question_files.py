"""The user's own questions with options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from string import ascii_uppercase
from typing import NamedTuple

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.table import Row, Table, kind_of_value, name_of, short, text_of
from lrlora.studies.tasks.task import Questions, Task
from lrlora.studies.tasks.user_files import (
    TABLES,
    carve,
    check_column_names,
    check_files,
    distinct,
    read_table,
    repetitions,
)

_NAMINGS = ("text", "letter", "number")
"""How answers may be given, in the order in which that is tried."""


class _Question(NamedTuple):
    text: str
    options: tuple[str, ...]
    answer: str
    place: str
    """Where it stands, for messages."""

    def names(self, naming: str) -> tuple[str, ...]:
        """What the options are called."""
        if naming == "text":
            return self.options
        count = len(self.options)
        return tuple(ascii_uppercase[:count]) if naming == "letter" else tuple(map(str, range(count)))


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
        answer: The column of right answers, given in one way in all files: as the text of the option; or else as its
            letter, A for the first; or else as its number, 0 for the first.

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
        check_column_names("question-files", question=question, answer=answer)
        for column in options if isinstance(options, list) else [options]:
            check_column_names("question-files", options=column)

    @property
    def labels(self) -> tuple[str, ...]:
        """A letter for each option."""
        return tuple(ascii_uppercase[: len(self._loaded[0]["train"].options[0])])

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Read the files once, so that what is wrong with them is said before a run starts.

        What may be a mistake, such as a question in two files, is announced in a line.
        """
        for line in self._loaded[1]:
            announce(line)

    def split(self, name: str) -> Questions:
        """The questions of a split, in the order of the file, or shuffled where the split was carved out."""
        return self._loaded[0][name]

    @cached_property
    def _loaded(self) -> tuple[dict[str, Questions], list[str]]:
        read = {split: self._read(file) for split, file in self.files.items() if file is not None}
        everything = [one for questions in read.values() for one in questions]
        _check_counts(everything)
        naming, notes = _naming(everything)
        notes += repetitions(read, _key, self.files, "question-files")
        rows = distinct(carve(read), _key, "question-files")
        splits = {
            split: Questions.from_rows((one.text, one.options, one.names(naming).index(one.answer)) for one in found)
            for split, found in rows.items()
        }
        return splits, notes

    def _read(self, file: str) -> list[_Question]:
        columns = [self.options] if isinstance(self.options, str) else self.options
        table = read_table(file, (self.question, *columns, self.answer), "question-files")
        return [self._row(row, columns, table) for row in table.rows]

    def _row(self, row: Row, columns: list[str], table: Table) -> _Question:
        at = table.at(row.number)
        where = f"task question-files: {at}"
        question, *given, answer = row.values
        if isinstance(self.options, str):
            if not isinstance(given[0], list):
                found = kind_of_value(given[0])
                raise StudyError(
                    f"{where}: column {self.options!r} holds {found}, not a list of options; "
                    "options=[a, b] names columns with one option each"
                )
            given, columns = given[0], [self.options] * len(given[0])
        options = tuple(name_of(one, column, where) for one, column in zip(given, columns, strict=True))
        if len(set(options)) < len(options):
            raise StudyError(f"{where}: an option stands there twice: {short(list(options))}")
        return _Question(
            text_of(question, self.question, where), options, name_of(answer, self.answer, where).strip(), at
        )


def _key(question: _Question) -> str:
    return repr(question[:2])


def _check_counts(questions: Iterable[_Question]) -> None:
    """See that all have as many options.

    Raises:
        StudyError: One has not; with two places that differ.
    """
    first: dict[int, str] = {}
    for one in questions:
        first.setdefault(len(one.options), one.place)
    if len(first) > 1 or not 2 <= min(first) <= len(ascii_uppercase):
        told = " and ".join(map(str, sorted(first)))
        raise StudyError(
            f"task question-files: questions have {told} options ({', '.join(list(first.values())[:3])}); "
            f"all must have as many, from 2 to {len(ascii_uppercase)}"
        )


def _naming(questions: list[_Question]) -> tuple[str, list[str]]:
    """How the answers are given, and a line if they could be read in another way.

    One question alone does not say: of the options 2, 1 and 0, the answer 0 may be the last or the first.

    Raises:
        StudyError: No way fits all of them; with the first that does not fit.
    """
    fitting = {naming: [one.answer in one.names(naming) for one in questions] for naming in _NAMINGS}
    whole = [naming for naming, fits in fitting.items() if all(fits)]
    if not whole:
        naming, fits = max(fitting.items(), key=lambda item: sum(item[1]))
        wrong = questions[fits.index(False)]
        what = f"task question-files: {wrong.place}: the answer {short(wrong.answer)} is"
        if not any(wrong.answer in wrong.names(other) for other in _NAMINGS):
            raise StudyError(f"{what} none of the options, their letters or numbers: {short(list(wrong.options))}")
        raise StudyError(
            f"{what} not the {naming} of an option, as {sum(fits)} of {len(fits)} answers are; give all in one way"
        )
    chosen = whole[0]
    for other in whole[1:]:
        odd = next((q for q in questions if q.names(chosen).index(q.answer) != q.names(other).index(q.answer)), None)
        if odd is not None:
            note = f"warning: task question-files: {odd.place}: the answer {short(odd.answer)} is read as the {chosen}"
            return chosen, [f"{note} of an option, and could be its {other}"]
    return chosen, []

"""The user's own files: JSONL, CSV or Parquet with a column of texts and a column of classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.task import Examples, Task
from lrlora.studies.tasks.user_files import TABLES, carve, check_files, distinct, read_table


class Files(Task):
    """Texts and classes from files.

    Where ``validation`` or ``test`` is not given, a tenth of the training file stands for each, by a fixed shuffle.
    A text that occurs in several splits is kept in the test split first, then in the validation split, so that no
    figure is one of a text that was trained on.

    Args:
        train: The file to train on.
        validation: The file to validate on during training.
        test: The file of the final figures.
        text: The column of texts.
        label: The column of classes, words or numbers.

    Raises:
        StudyError: A file does not exist or is of no known kind.
    """

    def __init__(
        self,
        train: str,
        validation: str | None = None,
        test: str | None = None,
        text: str = "text",
        label: str = "label",
    ) -> None:
        self.files = {"train": train, "validation": validation, "test": test}
        self.text, self.label = text, label
        check_files(self.files, TABLES, "files")

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that occur in any of the files, sorted."""
        return self._loaded[0]

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Read the files once, so that what is wrong with them is said before a run starts."""
        _ = self._loaded

    def split(self, name: str) -> Examples:
        """The examples of a split, in the order of the file, or shuffled where the split was carved out."""
        return self._loaded[1][name]

    @cached_property
    def _loaded(self) -> tuple[tuple[str, ...], dict[str, Examples]]:
        read = {split: self._read(file) for split, file in self.files.items() if file is not None}
        rows = distinct(carve(read), lambda pair: pair[0], "files")
        classes = tuple(sorted({label for pairs in rows.values() for _, label in pairs}))
        if len(classes) < 2:
            raise StudyError(f"task files: column {self.label!r} holds one class only: {classes[0]!r}")
        index = {label: position for position, label in enumerate(classes)}
        splits = {
            split: Examples([text for text, _ in pairs], [index[label] for _, label in pairs])
            for split, pairs in rows.items()
        }
        return classes, splits

    def _read(self, file: str) -> list[tuple[str, str]]:
        rows = read_table(file, (self.text, self.label), "files")
        return [_pair(row, self.text, self.label, file) for row in rows]


def _pair(row: dict[str, Any], text: str, label: str, file: str) -> tuple[str, str]:
    if not isinstance(row[text], str) or row[label] is None:
        raise StudyError(f"task files: {file}: a row holds no text or no class: {row!r}")
    return row[text], str(row[label])

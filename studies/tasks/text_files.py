"""The user's own text to model: plain files, or tables with a column of texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from lrlora.studies.decoding import read_text
from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.reference import paragraphs_of, unseen_paragraphs
from lrlora.studies.tasks.table import text_of
from lrlora.studies.tasks.task import Documents, Task
from lrlora.studies.tasks.user_files import TABLES, carve, check_column_names, check_files, read_table, repetitions

_PLAIN = (".txt", ".md")


class TextFiles(Task):
    """Text from files; each row of a table is a document, and so is a plain file.

    Where ``validation`` or ``test`` is not given, a tenth of the training file stands for each: of a table the rows of
    a fixed shuffle, of a plain file its first paragraphs. A paragraph that occurs in several splits is kept in the test
    split first, then in the validation split.

    Args:
        train: The file to train on.
        validation: The file to validate on during training.
        test: The file of the final figures.
        text: The column of texts, in tables.

    Raises:
        StudyError: A file does not exist or is of no known kind.
    """

    kind = "language-modelling"

    def __init__(self, train: str, validation: str | None = None, test: str | None = None, text: str = "text") -> None:
        self.files = {"train": train, "validation": validation, "test": test}
        self.text = text
        check_files(self.files, (*TABLES, *_PLAIN), "text-files")
        check_column_names("text-files", text=text)

    @property
    def labels(self) -> tuple[str, ...]:
        """None."""
        return ()

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Read the files once, so that what is wrong with them is said before a run starts.

        What may be a mistake, such as a paragraph in two files, is announced in a line.
        """
        for line in self._loaded[1]:
            announce(line)

    def split(self, name: str) -> Documents:
        """The documents of a split."""
        return self._loaded[0][name]

    @cached_property
    def _loaded(self) -> tuple[dict[str, Documents], list[str]]:
        read = {split: self._read(file) for split, file in self.files.items() if file is not None}
        notes = repetitions(read, lambda text: text, self.files, "text-files")
        rows = carve(read, shuffled=not _is_plain(self.files["train"]))
        seen: set[str] = set()
        found: dict[str, Documents] = {}
        for split in ("test", "validation", "train"):
            texts = [text for row in rows[split] if (text := unseen_paragraphs(row, seen))]
            if not texts:
                raise StudyError(f"task text-files: no paragraph is left for the {split} split")
            # The paragraphs of a plain file are carved one by one, and are one document again from here.
            whole = _is_plain(self.files[split] or self.files["train"])
            found[split] = Documents(["\n\n".join(texts)] if whole else texts)
        return found, notes

    def _read(self, file: str) -> list[str]:
        where = f"task text-files: {file}"
        if _is_plain(file):
            text = read_text(Path(file), where).replace("\r\n", "\n").replace("\r", "\n")
            return [paragraph for paragraph in paragraphs_of(text) if paragraph.strip()]
        table = read_table(file, (self.text,), "text-files")
        return [text_of(row.values[0], self.text, f"task text-files: {table.at(row.number)}") for row in table.rows]


def _is_plain(file: str | None) -> bool:
    return Path(file or "").suffix.lower() in _PLAIN

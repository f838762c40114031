"""The user's own text to model: plain files, or tables with a column of texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.reference import paragraphs_of, unseen_paragraphs
from lrlora.studies.tasks.task import Documents, Task
from lrlora.studies.tasks.user_files import TABLES, carve, check_files, read_table

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

    @property
    def labels(self) -> tuple[str, ...]:
        """None."""
        return ()

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Read the files once, so that what is wrong with them is said before a run starts."""
        _ = self._splits

    def split(self, name: str) -> Documents:
        """The documents of a split."""
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Documents]:
        given = {split: file for split, file in self.files.items() if file is not None}
        plain = Path(self.files["train"] or "").suffix in _PLAIN
        rows = carve({split: self._read(file) for split, file in given.items()}, shuffled=not plain)
        seen: set[str] = set()
        found: dict[str, Documents] = {}
        for split in ("test", "validation", "train"):
            texts = [text for row in rows[split] if (text := unseen_paragraphs(row, seen))]
            if not texts:
                raise StudyError(f"task text-files: no paragraph is left for the {split} split")
            # The paragraphs of a plain file are carved one by one, and are one document again from here.
            whole = Path(self.files[split] or self.files["train"] or "").suffix in _PLAIN
            found[split] = Documents(["\n\n".join(texts)] if whole else texts)
        return found

    def _read(self, file: str) -> list[str]:
        if Path(file).suffix in _PLAIN:
            try:
                return paragraphs_of(Path(file).read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise StudyError(f"task text-files: {file}: cannot be read: {error}") from None
        rows = read_table(file, (self.text,), "text-files")
        if odd := next((row for row in rows if not isinstance(row[self.text], str)), None):
            raise StudyError(f"task text-files: {file}: a row holds no text: {odd!r}")
        return [row[self.text] for row in rows]

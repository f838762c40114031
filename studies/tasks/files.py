"""The user's own files: JSONL, CSV or Parquet with a column of texts and a column of classes."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from lrlora.studies.errors import StudyError, unknown_key
from lrlora.studies.tasks.task import Examples, Task

_READERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
_SPLIT_SEED = 2019
_HELD_OUT_SHARE = 0.1


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
        for split, file in self.files.items():
            if file is None:
                continue
            if Path(file).suffix not in _READERS:
                raise StudyError(f"task files: {split}: {file}: not one of {', '.join(sorted(_READERS))}")
            if not Path(file).is_file():
                raise StudyError(f"task files: {split}: {file}: No such file")

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
        rows = {split: self._read(file) for split, file in self.files.items() if file is not None}
        if len(rows) < len(self.files):
            random.Random(_SPLIT_SEED).shuffle(rows["train"])
            share = max(1, round(_HELD_OUT_SHARE * len(rows["train"])))
            for split in ("validation", "test"):
                if split not in rows:
                    rows[split], rows["train"] = rows["train"][:share], rows["train"][share:]
        seen: set[str] = set()
        for split in ("test", "validation", "train"):
            rows[split] = list({text: (text, label) for text, label in rows[split] if text not in seen}.values())
            seen |= {text for text, _ in rows[split]}
            if not rows[split]:
                raise StudyError(f"task files: no example is left for the {split} split")
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
        import datasets

        datasets.disable_progress_bars()
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else reading a file of the user's own tells the hub of it
        try:
            table = datasets.load_dataset(_READERS[Path(file).suffix], data_files=str(file), split="train")
        except Exception as error:  # every reader behind `datasets` has errors of its own
            cause = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise StudyError(f"task files: {file}: cannot be read: {cause[0]}") from None
        for column in (self.text, self.label):
            if column not in table.column_names:
                message = str(unknown_key(column, table.column_names, f"task files: {file}"))
                raise StudyError(message.replace("unknown key", "no column", 1))
        return [_pair(row, self.text, self.label, file) for row in table]


def _pair(row: dict[str, Any], text: str, label: str, file: str) -> tuple[str, str]:
    if not isinstance(row[text], str) or row[label] is None:
        raise StudyError(f"task files: {file}: a row holds no text or no class: {row!r}")
    return row[text], str(row[label])

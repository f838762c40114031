"""The user's own files: tables with a column of texts and a column of classes."""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from lrlora.registry import closest
from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.table import Table, kind_of_value, name_of, short, text_of
from lrlora.studies.tasks.task import SPLITS, Examples, Task
from lrlora.studies.tasks.user_files import (
    TABLES,
    carve,
    check_column_names,
    check_files,
    distinct,
    read_table,
    repetitions,
)


class _Example(NamedTuple):
    text: str
    label: str
    place: str
    """Where it stands, for messages."""


class Files(Task):
    """Texts and classes from files.

    Everything is read as it is written: ``01`` and ``1`` are two classes, and ``NA`` is a text.

    Where ``validation`` or ``test`` is not given, a tenth of the training file stands for each, by a fixed shuffle;
    rows of a class that would not be trained on stay in training. A text that occurs in several splits is kept in the
    test split first, then in the validation split, so that no figure is one of a text that was trained on.

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
        check_column_names("files", text=text, label=label)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the training split, sorted."""
        return self._loaded[0]

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Read the files once, so that what is wrong with them is said before a run starts.

        What may be a mistake, such as a text in two files, is announced in a line.
        """
        for line in self._loaded[2]:
            announce(line)

    def split(self, name: str) -> Examples:
        """The examples of a split, in the order of the file, or shuffled where the split was carved out."""
        return self._loaded[1][name]

    @cached_property
    def _loaded(self) -> tuple[tuple[str, ...], dict[str, Examples], list[str]]:
        tables = {
            split: read_table(file, (self.text, self.label), "files")
            for split, file in self.files.items()
            if file is not None
        }
        _check_kinds(tables.values(), self.label)
        read = {split: self._examples(table) for split, table in tables.items()}
        notes = repetitions(read, lambda one: one.text, self.files, "files") + _contradictions(read)
        rows = distinct(carve(read), lambda one: one.text, "files")
        _keep_rare(rows, [split for split in SPLITS if split not in read])
        classes = tuple(sorted({one.label for one in rows["train"]}))
        self._check_classes(classes, rows)
        index = {label: position for position, label in enumerate(classes)}
        splits = {
            split: Examples([one.text for one in found], [index[one.label] for one in found])
            for split, found in rows.items()
        }
        return classes, splits, notes + _look_alikes(classes)

    def _examples(self, table: Table) -> list[_Example]:
        found = []
        for row in table.rows:
            text, label = row.values
            at = table.at(row.number)
            where = f"task files: {at}"
            found.append(_Example(text_of(text, self.text, where), name_of(label, self.label, where), at))
        return found

    def _check_classes(self, classes: tuple[str, ...], rows: Mapping[str, list[_Example]]) -> None:
        known = ", ".join(map(short, classes[:10])) + (", ..." if len(classes) > 10 else "")
        for split in ("validation", "test"):
            strange = {one.label: one for one in reversed(rows[split]) if one.label not in classes}
            if strange:
                names = sorted(strange)
                told = ", ".join(map(short, names[:5])) + (", ..." if len(names) > 5 else "")
                nearest = closest(names[0], classes)
                raise StudyError(
                    f"task files: {strange[names[0]].place}: the {split} split has "
                    f"{'a class' if len(names) == 1 else 'classes'} that training never has: {told}"
                    f"{f'; did you mean {nearest!r}?' if nearest is not None else ''} (training has: {known})"
                )
        if len(classes) < 2:
            raise StudyError(f"task files: column {self.label!r} holds one class only: {short(classes[0])}")


def _check_kinds(tables: Iterable[Table], label: str) -> None:
    """See that one column is not text here and a number there: ``1`` and ``"1"`` would be one class.

    Raises:
        StudyError: It is; with the first two places that differ.
    """
    first: tuple[str, str] | None = None
    for table in tables:
        for row in table.rows if table.typed else ():
            found = kind_of_value(row.values[1]), table.at(row.number)
            first = first or found
            if found[0] != first[0] and row.values[1] is not None:
                raise StudyError(
                    f"task files: {found[1]}: column {label!r} holds {found[0]}, and {first[0]} in {first[1]}; "
                    "write all classes in one way"
                )


def _keep_rare(rows: dict[str, list[_Example]], carved: Iterable[str]) -> None:
    """Give training the carved-out rows of classes that it lacks: in no other split could they be told.

    Raises:
        StudyError: That leaves a split without rows.
    """
    for split in carved:
        trained = {one.label for one in rows["train"]}
        rows["train"] = rows["train"] + [one for one in rows[split] if one.label not in trained]
        rows[split] = [one for one in rows[split] if one.label in trained]
        if not rows[split]:
            raise StudyError(
                f"task files: too few rows of each class ({len(trained)} or more) to carve out the {split} split; "
                f"give {split} a file of its own"
            )


def _contradictions(read: Mapping[str, list[_Example]]) -> list[str]:
    """A line about texts that stand in one file with several classes."""
    notes = []
    for examples in read.values():
        first: dict[str, _Example] = {}
        odd = [(one, of) for one in examples if (of := first.setdefault(one.text, one)).label != one.label]
        if odd:
            one, of = odd[0]
            notes.append(
                f"warning: task files: {one.place}: class {short(one.label)} of a text that has the class "
                f"{short(of.label)} in {of.place}; the first counts ({len({one.text for one, _ in odd})} such texts)"
            )
    return notes


def _look_alikes(classes: Iterable[str]) -> list[str]:
    """A line for every two classes that differ in nothing but spaces, case or the way a number is written."""
    first: dict[object, str] = {}
    notes = []
    for name in classes:
        plain: object = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        with contextlib.suppress(ValueError):
            plain = float(name)
        if first.setdefault(plain, name) != name:
            notes.append(f"warning: task files: {short(first[plain])} and {short(name)} are taken for two classes")
    return notes

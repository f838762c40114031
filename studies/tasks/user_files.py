"""What tasks from the user's own files share: reading tables, carving out the splits that no file was given for."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from lrlora.studies.decoding import no_such_file, read_text
from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.table import Table

TABLES = (".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv")
"""Endings of tables."""

_SPLIT_SEED = 2019
_HELD_OUT_SHARE = 0.1

T = TypeVar("T")


def check_files(files: Mapping[str, str | None], endings: Iterable[str], task: str) -> None:
    """See that the files of a task are there and of a known kind.

    Raises:
        StudyError: One is not.
    """
    for split, file in files.items():
        if file is None and split != "train":
            continue
        where = f"task {task}: {split}"
        if not isinstance(file, str):
            raise StudyError(f"{where}: the path of one file is wanted, not {file!r}")
        if Path(file).suffix.lower() not in endings:
            raise StudyError(f"{where}: {file}: not one of {', '.join(sorted(endings))}")
        try:
            found, folder = Path(file).is_file(), Path(file).is_dir()
        except OSError as error:
            raise StudyError(f"{where}: {file}: {error.strerror or error}") from None
        if folder:
            raise StudyError(f"{where}: {file}: is a folder")
        if not found:
            raise StudyError(f"{where}: {no_such_file(Path(file))}")


def check_column_names(task: str, **columns: object) -> None:
    """See that options which name columns are text.

    Raises:
        StudyError: One is not.
    """
    for option, name in columns.items():
        if not isinstance(name, str):
            raise StudyError(f"task {task}: {option}: the name of a column is wanted, not {name!r}")


def read_table(file: str, columns: Sequence[str], task: str) -> Table:
    """Read some columns of a table, as they are written.

    Raises:
        StudyError: It cannot be read, holds no row, or lacks one of ``columns``.
    """
    # Imported here: Parquet's reader takes a third of a second, and most commands read no file.
    from lrlora.studies.tasks.delimited import read_delimited
    from lrlora.studies.tasks.json_rows import read_json, read_json_lines
    from lrlora.studies.tasks.parquet_rows import read_parquet

    where, ending = f"task {task}: {file}", Path(file).suffix.lower()
    if ending == ".parquet":
        return read_parquet(file, columns, where)
    text = read_text(Path(file), where)
    if ending in (".csv", ".tsv"):
        return read_delimited(text, "," if ending == ".csv" else "\t", columns, file, where)
    return (read_json if ending == ".json" else read_json_lines)(text, columns, file, where)


def carve(rows: dict[str, list[T]], shuffled: bool = True) -> dict[str, list[T]]:
    """The rows of all three splits: where validation or test is missing, a tenth of the training rows stands for it.

    Args:
        rows: By split; ``train`` at least.
        shuffled: Whether the training rows are shuffled before, in a fixed way; else they keep their order.
    """
    rows = dict(rows)
    if len(rows) < 3:
        train = list(rows["train"])
        if shuffled:
            random.Random(_SPLIT_SEED).shuffle(train)
        share = max(1, round(_HELD_OUT_SHARE * len(train)))
        for split in ("validation", "test"):
            if split not in rows:
                rows[split], train = train[:share], train[share:]
        rows["train"] = train
    return rows


def distinct(rows: Mapping[str, Sequence[T]], key: Callable[[T], str], task: str) -> dict[str, list[T]]:
    """The rows without repetitions; what occurs in several splits stays in the test split, else in validation.

    Of rows with one key in one split the first is kept. Across splits, white space does not tell keys apart.

    Raises:
        StudyError: A split is left empty.
    """
    seen: set[str] = set()
    found: dict[str, list[T]] = {}
    for split in ("test", "validation", "train"):
        kept: dict[str, T] = {}
        for row in rows[split]:
            if _plain(key(row)) not in seen:
                kept.setdefault(key(row), row)
        found[split] = list(kept.values())
        seen |= {_plain(one) for one in kept}
        if not kept:
            why = "all of it is in the other splits" if rows[split] else "too few rows were given"
            raise StudyError(f"task {task}: no example is left for the {split} split: {why}")
    return found


def repetitions(
    rows: Mapping[str, Sequence[T]], key: Callable[[T], str], files: Mapping[str, str | None], task: str
) -> list[str]:
    """A line for every file that repeats rows of itself, and for every two that share some.

    Args:
        rows: By split, as the files have them.
        key: What makes two rows the same example.
        files: By split.
        task: The task's name.
    """
    keys = {split: [_plain(key(row)) for row in found] for split, found in rows.items()}
    notes = []
    for split, own in keys.items():
        if again := len(rows[split]) - len({key(row) for row in rows[split]}):
            notes.append(
                f"warning: task {task}: {files[split]}: {_rows(again)} repeat one above; each example is kept once"
            )
        for other in _KEPT_BEFORE[split]:
            there = set(keys.get(other, ()))
            if shared := sum(one in there for one in own):
                notes.append(
                    f"warning: task {task}: {_rows(shared)} of {files[split]} are in {files[other]} as well; "
                    f"they are left out of the {split} split"
                )
    return notes


_KEPT_BEFORE = {"train": ("validation", "test"), "validation": ("test",), "test": ()}
"""By split, those in which an example is kept rather than in this."""


def _plain(text: str) -> str:
    return " ".join(text.split())


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"

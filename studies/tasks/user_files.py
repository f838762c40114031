"""What tasks from the user's own files share: reading tables, carving out the splits that no file was given for."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lrlora.studies.errors import StudyError, unknown_key

TABLES = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
"""Endings of tables, and the reader in `datasets` for each."""

_SPLIT_SEED = 2019
_HELD_OUT_SHARE = 0.1

T = TypeVar("T")


def check_files(files: Mapping[str, str | None], endings: Iterable[str], task: str) -> None:
    """See that the files of a task are there and of a known kind.

    Raises:
        StudyError: One is not.
    """
    for split, file in files.items():
        if file is None:
            continue
        if Path(file).suffix not in endings:
            raise StudyError(f"task {task}: {split}: {file}: not one of {', '.join(sorted(endings))}")
        if not Path(file).is_file():
            raise StudyError(f"task {task}: {split}: {file}: No such file")


def read_table(file: str, columns: Sequence[str], task: str) -> list[dict[str, Any]]:
    """The rows of a table.

    Raises:
        StudyError: It cannot be read, or lacks one of ``columns``.
    """
    import datasets

    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else reading a file of the user's own tells the hub of it
    try:
        # Its cache takes a file for the same by its path and time.
        anew = datasets.DownloadMode.FORCE_REDOWNLOAD
        table = datasets.load_dataset(TABLES[Path(file).suffix], data_files=file, split="train", download_mode=anew)
    except Exception as error:  # every reader behind `datasets` has errors of its own
        cause = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise StudyError(f"task {task}: {file}: cannot be read: {cause[0]}") from None
    for column in columns:
        if column not in table.column_names:
            message = str(unknown_key(column, table.column_names, f"task {task}: {file}"))
            raise StudyError(message.replace("unknown key", "no column", 1))
    return list(table)


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


def distinct(rows: dict[str, list[T]], key: Callable[[T], str], task: str) -> dict[str, list[T]]:
    """The rows without repetitions; what occurs in several splits stays in the test split, else in validation.

    Raises:
        StudyError: A split is left empty.
    """
    seen: set[str] = set()
    found: dict[str, list[T]] = {}
    for split in ("test", "validation", "train"):
        found[split] = list({key(row): row for row in rows[split] if key(row) not in seen}.values())
        seen |= {key(row) for row in found[split]}
        if not found[split]:
            raise StudyError(f"task {task}: no example is left for the {split} split")
    return found

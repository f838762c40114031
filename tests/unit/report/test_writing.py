"""A report is written whole: an interrupted one leaves the one before it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lrlora.studies.report.writing import write_files

OLD = {"a.txt": "old a", "b.txt": "old b"}
NEW = {"a.txt": "new a", "b.txt": "new b"}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_files_are_replaced_and_others_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "study" / "report"
    assert write_files(folder, OLD) == folder
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    write_files(folder, NEW)
    assert contents(folder) == NEW | {"notes.txt": "mine"}


def test_an_interruption_before_all_is_written_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_files(tmp_path / "report", OLD)
    calls = iter([None, KeyboardInterrupt])

    def interrupted(_: int) -> None:
        if (raised := next(calls)) is not None:
            raise raised

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_files(folder, NEW)
    assert contents(folder) == OLD

"""An interrupted report leaves the one before it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lrlora.studies.report.writing import replace_folder

OLD = {"a.txt": "old a", "b.txt": "old b"}
NEW = {"a.txt": "new a", "b.txt": "new b"}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_a_folder_is_made_and_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    for files in (OLD, NEW):
        assert replace_folder(folder, files) == folder
        assert contents(folder) == files
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_other_files_in_the_folder_are_kept(tmp_path: Path) -> None:
    folder = replace_folder(tmp_path / "report", OLD)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    assert contents(replace_folder(folder, NEW)) == NEW | {"notes.txt": "mine"}


@pytest.mark.parametrize("call", range(6))
def test_an_interruption_at_any_system_call_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    folder = replace_folder(tmp_path / "report", OLD)
    calls = iter(range(100))

    def interrupted(original):  # type: ignore[no-untyped-def]
        def wrapper(*args, **kwargs):  # type: ignore[no-untyped-def]
            if next(calls) == call:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return wrapper

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupted(os.fsync))
        patched.setattr(Path, "chmod", interrupted(Path.chmod))
        patched.setattr(Path, "rename", interrupted(Path.rename))
        # chmod, two fsyncs and two renames: the sixth is never reached.
        if call < 5:
            with pytest.raises(KeyboardInterrupt):
                replace_folder(folder, NEW)
        else:
            replace_folder(folder, NEW)
    assert contents(folder) == (OLD if call < 5 else NEW)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_reports_written_at_once_leave_one_whole_report(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    versions = [dict.fromkeys(("a.txt", "b.txt"), f"{version}") for version in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda files: replace_folder(folder, files), versions))
    assert contents(folder) in versions
    assert [path.name for path in tmp_path.iterdir()] == ["report"]

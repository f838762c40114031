"""Terminals that lack characters, disks that are full, folders that are closed: a command ends in one line."""

from __future__ import annotations

import errno
import importlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lrlora.studies.cli.surroundings import explain_surroundings

# The package has a function of that name.
command_line = importlib.import_module("lrlora.studies.cli.main")

NARROW = [
    {"PYTHONIOENCODING": "cp1252"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
STUDY = """
name: x
question: "Qué — 漢字 😀?"
task: digits
backbone: digits-vit
base: {method: lora}
variants: {"σ 😀": {r: 2}}
budgets: {smoke: {}}
"""


@pytest.mark.parametrize("narrow", NARROW, ids=["cp1252", "C"])
def test_a_terminal_without_the_characters_gets_question_marks(tmp_path: Path, narrow: dict[str, str]) -> None:
    (tmp_path / "t.yaml").write_text(STUDY, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(STUDY.replace("digits\n", "dígïts 漢\n", 1), encoding="utf-8")
    for arguments, status, says in (
        (("list",), 0, "placement"),
        (("plan", "t.yaml", "--budget", "smoke"), 0, "? ?"),
        (("plan", "bad.yaml", "--budget", "smoke"), 2, "lrlora: error: "),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "lrlora.studies.cli", "study", *arguments],
            cwd=tmp_path,
            env=os.environ | narrow,
            capture_output=True,
        )
        output = (done.stdout + done.stderr).decode("cp1252")
        assert done.returncode == status, output
        assert says in output
        assert "?" in output
        assert "Traceback" not in output


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "o/study.json"),
            "o/study.json: no space is left on the disk",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the quota of the disk is used up"),
        (PermissionError(errno.EACCES, "Permission denied", "o"), "o: permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "o"), "o: the folder cannot be written to"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "set TMPDIR"),
        (sqlite3.OperationalError("database or disk is full"), "no space is left on the disk"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "the databases cannot be written to"),
        (sqlite3.OperationalError("unable to open database file"), "the databases cannot be opened or made"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_disks_do_is_one_line_however_libraries_wrap_it(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("what a library makes of it") from cause

    monkeypatch.setattr(command_line, "app", fail)
    assert command_line.run(["study", "list"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert line.endswith("run the same command again to continue")


def test_what_is_wrong_with_the_program_keeps_its_traceback() -> None:
    assert explain_surroundings(ValueError("a mistake of ours")) is None
    assert explain_surroundings(FileNotFoundError(errno.ENOENT, "No such file or directory", "x")) is None
    assert explain_surroundings(sqlite3.OperationalError("no such table: runs")) is None


def test_an_argument_that_is_no_text_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["study", "status", os.fsdecode(b"r\xfcn")]) == 2
    assert "not text in this locale's encoding" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["study", "run", "x.yaml", "--out", ""], "the value of --out is empty"),
        (["study", "run", "x.yaml", "--out="], "the value of --out is empty"),
        (["study", "status", ""], "an argument is empty"),
    ],
)
def test_an_empty_argument_is_not_the_working_folder(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.run(arguments) == 2
    assert says in capsys.readouterr().err


def test_a_file_in_place_of_a_folder_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("name: x\n")
    assert command_line.run(["study", "status", str(tmp_path / "a.yaml")]) == 2
    assert "is neither the folder of a study nor a file of its records" in " ".join(capsys.readouterr().err.split())

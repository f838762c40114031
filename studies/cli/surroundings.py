"""What surrounds a command: terminals that lack characters, disks that are full, folders that are closed."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence

from lrlora.studies.errors import StudyError

_OF_DISKS = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EROFS: "the folder cannot be written to",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "the disk cannot be read or written",
    errno.EMFILE: "too many files are open",
    errno.ENAMETOOLONG: "a file's name is too long",
}
_OF_SQLITE = {
    "disk is full": "no space is left on the disk",
    "readonly database": "the databases cannot be written to",
    "unable to open database file": "the databases cannot be opened or made",
    "disk i/o error": "the disk cannot be read or written",
}
GO_ON = "what was recorded is kept: run the same command again to continue"


def prepare_output() -> None:
    """Have characters that the terminal's encoding lacks printed as ``?``, and errors of databases said once.

    A name must not end a command. MLflow logs an error of its database with a traceback, and raises it as well.
    """
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def check_arguments(arguments: Sequence[str]) -> None:
    """Check that no argument is empty, and that arguments and working folder are text.

    ``--out ""``, from a shell variable that is not set, would be the working folder. MLflow's and Optuna's databases
    cannot be at a path that is not text.

    Raises:
        StudyError: If an argument is empty, or holds bytes that the locale's encoding does not have.
    """
    before = ""
    for text in arguments:
        option, equals, value = text.partition("=")
        if not text or (text.startswith("--") and equals and not value):
            named = option or before
            raise StudyError(f"the value of {named} is empty" if named.startswith("--") else "an argument is empty")
        before = text
    for text in (*arguments, os.getcwd()):
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise StudyError(
                f"{text!a}: not text in this locale's encoding, {sys.getfilesystemencoding()}; "
                "set PYTHONUTF8=1, or give a name in ASCII"
            )


def explain_surroundings(error: BaseException) -> str | None:
    """What is wrong with disk or folders, in one line; None if the error, and what caused it, is about neither.

    >>> explain_surroundings(OSError(28, "No space left on device", "a/mlflow.db"))
    'a/mlflow.db: no space is left on the disk; what was recorded is kept: run the same command again to continue'
    """
    for cause in _chain(error):
        if isinstance(cause, FileNotFoundError) and "No usable temporary directory" in str(cause):
            return f"there is no folder for temporary files: set TMPDIR to one that can be written; {GO_ON}"
        if isinstance(cause, OSError) and cause.errno in _OF_DISKS:
            place = f"{cause.filename}: " if cause.filename else ""
            return f"{place}{_OF_DISKS[cause.errno]}; {GO_ON}"
        if isinstance(cause, sqlite3.OperationalError):
            for sign, words in _OF_SQLITE.items():
                if sign in str(cause).lower():
                    return f"{words}; {GO_ON}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from; libraries wrap those of disks in their own."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, getattr(one, "orig", None)]

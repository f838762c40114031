"""The folder of a study: one driver at a time holds it, and what it holds is whole from the first second."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lrlora.studies.errors import StudyError
from lrlora.studies.record.results import STUDY_FILE, is_recorded, read_study_file, write_study_file
from lrlora.studies.spec.study import Study

LOCK, DRIVER = ".driver.lock", "driver.json"
_OURS = (LOCK, DRIVER, STUDY_FILE)
_LOCK_SECONDS = 0.5
"""A process that asks who holds the folder has the lock for a moment."""


@contextlib.contextmanager
def hold(out: Path, study: Study, budget: str) -> Iterator[None]:
    """Hold a study's folder, which is made if need be, with the study in it.

    A study that is refused inside of the block, before anything is recorded, leaves no folder behind that was not
    there before.

    Args:
        out: The folder.
        study: Resolved. It is written only where nothing is recorded yet.
        budget: What it was resolved for.

    Raises:
        StudyError: Another process holds it, it is a file, it cannot be made, or it holds something else; one line.
    """
    check_stores(out)
    made = _make(out)
    lock = FileLock(out / LOCK, is_singleton=False)
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        watch = f"watch it with: lrlora study status {shlex.quote(str(out))} --watch"
        raise StudyError(f"--out {out}: {describe_driver(out)}; {watch}") from None
    except OSError as error:
        raise StudyError(f"--out {out}: cannot be written: {error.strerror}") from None
    try:
        try:
            write_whole(out / DRIVER, {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()})
            if not is_recorded(out):
                write_study_file(out, study, budget, {})
        except OSError as error:
            raise StudyError(f"--out {out}: cannot be written: {error.strerror}") from None
        yield
    except Exception:
        if not is_recorded(out):
            for name in _OURS:
                (out / name).unlink(missing_ok=True)
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        raise
    finally:
        (out / DRIVER).unlink(missing_ok=True)
        lock.release()


def driver_of(out: Path) -> dict[str, Any] | None:
    """Returns who holds a folder, as ``{"pid", "host", "since"}``; None where no process does."""
    try:
        found: dict[str, Any] = json.loads((out / DRIVER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    lock = FileLock(out / LOCK, is_singleton=False)  # a driver that was killed leaves the file, and no lock
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return found
    except OSError:
        return None
    lock.release()
    return None


def describe_driver(out: Path) -> str:
    """Returns who holds a folder, in a sentence."""
    driver = driver_of(out)
    if driver is None:  # it has the lock, and says so next
        return "another process runs a study here"
    return f"process {driver['pid']} on {driver['host']} has been running a study here since {driver['since']}"


def check_stores(out: Path) -> None:
    """See that what a folder holds is a study, or nothing.

    Raises:
        StudyError: It is a file, or holds stores of something else; one line.
    """
    if out.exists() and not out.is_dir():
        raise StudyError(f"--out {out}: is a file")
    if read_study_file(out) is None and any((out / name).exists() for name in ("mlflow.db", "optuna.db")):
        raise StudyError(f"--out {out}: holds databases of something else; give another folder")


def _make(out: Path) -> list[Path]:
    """Make a folder; returns the folders that were made, the innermost first."""
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"--out {out}: cannot be made: {error.strerror}") from None
    return missing


def write_whole(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    partial.replace(path)


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")

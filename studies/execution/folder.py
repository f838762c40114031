"""The folder of a study: one driver at a time holds it, and what it holds is whole from the first second."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lrlora.studies.errors import StudyError
from lrlora.studies.record.results import STUDY_FILE, read_study_file, write_study_file
from lrlora.studies.spec.study import Study

LOCK, DRIVER = ".driver.lock", "driver.json"
_OURS = (LOCK, DRIVER, STUDY_FILE)
_LOCK_SECONDS = 0.5
"""A process that asks who holds the folder has the lock for a moment."""


def is_recorded(out: Path) -> bool:
    """Whether a study's folder holds more than its declaration: its stores are there."""
    return (out / "mlflow.db").exists()


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


def make_store(out: Path) -> None:
    """Make the MLflow store of a folder, whole or not at all: its migrations do not survive a kill half-way."""
    from lrlora.studies.record.tracking import open_client

    if (out / "mlflow.db").exists():
        return
    partial = out / ".making"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    open_client(partial).search_experiments(max_results=1)
    (partial / "mlflow.db").replace(out / "mlflow.db")
    shutil.rmtree(partial, ignore_errors=True)


def check_stores(out: Path) -> None:
    """See that what a folder holds is a study, with the record that belongs to it, or nothing.

    Raises:
        StudyError: It is a file, or holds stores of something else, or one of its own is missing; one line.
    """
    if out.exists() and not out.is_dir():
        raise StudyError(f"--out {out}: is a file")
    mlflow, optuna = out / "mlflow.db", out / "optuna.db"
    if read_study_file(out) is None and (mlflow.exists() or optuna.exists()):
        raise StudyError(f"--out {out}: holds databases of something else; give another folder")
    # MLflow's store is made first and whole, and holds what was measured: without it nothing here may be written over.
    if optuna.exists() and not mlflow.exists():
        raise StudyError(
            f"--out {out}: mlflow.db is missing, and optuna.db is there; put it back, or give another folder"
        )
    if mlflow.exists() and mlflow.stat().st_size == 0:
        raise StudyError(f"--out {out}: mlflow.db is empty; put it back, or give another folder")


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

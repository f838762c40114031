"""Output folders: written as a whole or not at all, and never over anything but an earlier export."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrlora.export.errors import ExportError

_MARKS = ("config.json", "adapter_config.json")
"""Files by which a folder is known to hold a model or an adapter."""


def check_free(folder: Path, force: bool, sources: tuple[Path, ...] = ()) -> None:
    """Checks that a folder may be written, where ``force`` allows to replace a model or an adapter.

    Raises:
        ExportError: It is a file, it is not empty and must not be replaced, or one of ``sources`` is in it.
    """
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{folder} is a file; name a folder that does not exist yet")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not force:
        raise ExportError(f"{folder} is not empty; name another folder, or replace it with --force (force=True)")
    if not any((folder / mark).is_file() for mark in _MARKS):
        raise ExportError(f"{folder} holds neither a model nor an adapter, and is not replaced; name another folder")
    for path in sources:
        if path.resolve().is_relative_to(folder.resolve()):
            raise ExportError(f"{folder} would replace {path}, which it is made from; name another folder")


@contextmanager
def whole_folder(folder: str | Path, force: bool = False) -> Iterator[Path]:
    """Yields a new folder to write into, which is renamed to ``folder`` if the block ends without an error.

    Raises:
        ExportError: As :func:`check_free`, or the folder cannot be made.
    """
    target = Path(os.path.abspath(folder))
    check_free(target, force)
    # Beside the target, so that renaming does not copy; the process id keeps two exports apart.
    staging, old = (target.with_name(f".{target.name}.{os.getpid()}.{end}") for end in ("partial", "old"))
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"{folder} cannot be made: {error.strerror}") from None
    try:
        yield staging
        if target.exists():
            target.rename(old)
        staging.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(staging, ignore_errors=True)
        for parent in missing:
            parent.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)

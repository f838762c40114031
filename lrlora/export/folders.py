"""Folders that appear whole or not at all, and never in place of something else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrlora.export.errors import ExportError

_MARKS = ("config.json", "adapter_config.json")
"""What a folder holds that a model or an adapter was saved to."""


def check_free(folder: Path, force: bool, sources: tuple[Path, ...] = ()) -> None:
    """Check that a folder may be written.

    Args:
        folder: Its name.
        force: Whether a model or an adapter of that name may be replaced.
        sources: What the new folder is made from.

    Raises:
        ExportError: It is a file, or there is something in it that is not to be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{folder} is a file; name a folder that is not there yet")
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
    """A new folder to write into, which takes the name ``folder`` when the block has ended without an error.

    Args:
        folder: Its name in the end.
        force: Replace a model or an adapter of that name.

    Raises:
        ExportError: The name is taken, or cannot be made.
    """
    target = Path(os.path.abspath(folder))
    check_free(target, force)
    # Beside the target, so that renaming does not copy; hidden, and with a number no other process has.
    staging = target.with_name(f".{target.name}.{os.getpid()}.partial")
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"{folder} cannot be made: {error.strerror}") from None
    try:
        yield staging
        if target.exists():
            old = target.with_name(f".{target.name}.{os.getpid()}.old")
            target.rename(old)
            try:
                staging.rename(target)
            except BaseException:
                old.rename(target)
                raise
            shutil.rmtree(old)
        else:
            staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for parent in missing:
            parent.rmdir()
        raise

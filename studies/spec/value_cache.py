"""Small values in the user's cache folder; some are keyed by a hash of lrlora's code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_ROOMS = ("lrlora", "lrlora.bases", "lrlora.registry", "lrlora.studies")
_LIBRARIES = ("torch", "peft", "transformers", "pydantic")
_REGISTER = {"peft", "lrlora.bases", "lrlora.engines", "lrlora.policies"}
"""Modules that are imported whenever something is registered that settings of a method may name."""

_CACHING: ContextVar[bool] = ContextVar("caching", default=False)


class CachedValue:
    """A JSON value in the user's cache folder, by a key of any length."""

    def __init__(self, key: str) -> None:
        from lrlora.studies.tasks.pypi_data import cache_folder

        self._path = cache_folder() / "fingerprints" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def read(self) -> Any:
        """Returns the value; None if there is none."""
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def write(self, value: Any) -> None:
        """Writes the value. A cache that cannot be written costs time only."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=self._path.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(value, file)
            os.replace(partial, self._path)


@contextlib.contextmanager
def caching_by_code() -> Iterator[None]:
    """Lets :func:`cached_by_code` cache within the block, for a command that loads no plugin.

    It does not if other code than lrlora's may count: if plugins are installed, or if a module is imported already with
    which something can have been registered.
    """
    own = not (_REGISTER & sys.modules.keys() or any(group.startswith("lrlora.") for group in entry_points().groups))
    token = _CACHING.set(own)
    try:
        yield
    finally:
        _CACHING.reset(token)


def cached_by_code(*key: Any) -> CachedValue | None:
    """Returns the cache of a value that follows from a key and from the code of lrlora and its libraries.

    It saves the import of torch and PEFT, which takes seconds. None outside of :func:`caching_by_code`.
    """
    return CachedValue(repr((key, _hash_of_code()))) if _CACHING.get() else None


@lru_cache(maxsize=1)
def _hash_of_code() -> str:
    """Returns a hash of all source files of lrlora, and of the versions of the libraries below it."""
    digest = hashlib.sha256(platform.python_version().encode())
    for library in _LIBRARIES:
        digest.update(f"{library} {version_of(library)};".encode())
    folders = [
        Path(place) for room in _ROOMS if (spec := find_spec(room)) for place in spec.submodule_search_locations or ()
    ]
    for path in sorted({path.resolve() for folder in folders for path in folder.rglob("*.py")}):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)};".encode() + content)
    return digest.hexdigest()


def version_of(package: str) -> str | None:
    """Returns the version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None

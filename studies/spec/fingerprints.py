"""Hashes of the data of a task and of the weights of a backbone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.value_cache import CachedValue, version_of

MISSING = "missing"
"""The hash of data or weights that are not on this machine yet. No recorded cell has it."""

_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".json", ".txt", ".model"}


@dataclass
class Fingerprints:
    """Hashes each content once. The cells of one expansion share an object; the next expansion hashes again."""

    _data: dict[str, _Data] = field(default_factory=dict)
    _weights: dict[str, str] = field(default_factory=dict)

    def data(self, task: Mapping[str, Any], split: str) -> str:
        """Returns a hash of a split of a task. Other splits are not read.

        The hash is of the examples as read, so it changes with the files and with the code that reads them, and not
        with the files' times. For built-in tasks it is cached in the user's cache folder, by the files' content.

        Args:
            task: ``name`` and ``options``.
            split: ``train``, ``validation`` or ``test``.
        """
        key = json.dumps(task, sort_keys=True, default=str)
        if key not in self._data:
            self._data[key] = _Data(task)
        return self._data[key].of(split)

    def weights(self, backbone: str) -> str:
        """Returns a hash of the files of a backbone; for one on the Hugging Face hub, its commit.

        Files are hashed again when their size or times differ from when they were hashed last.
        """
        if backbone not in self._weights:
            self._weights[backbone] = _read_weights(backbone)
        return self._weights[backbone]


class _Data:
    """The hashes of the splits of one task, each read when it is asked for."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._task = task
        self._found: dict[str, str] = {}

    def of(self, split: str) -> str:
        if split not in self._found:
            self._found[split] = self._read(split)
        return self._found[split]

    def _read(self, split: str) -> str:
        cached = None if self._source is None else CachedValue(f"{self._source} {split}")
        if cached is not None and isinstance(known := cached.read(), str):
            return known
        try:
            found = hash_values([list(self._made.labels), self._made.split(split)])
        except Exception:  # whatever a task of a plugin does where its data are not there yet
            return MISSING
        if cached is not None:
            cached.write(found)
        return found

    @cached_property
    def _made(self) -> Any:
        from lrlora.studies.tasks import make_task

        return make_task(self._task["name"], self._task["options"])

    @cached_property
    def _source(self) -> str | None:
        """What the examples of a built-in task follow from; None for others."""
        from lrlora.studies.tasks import TASKS

        name = self._task["name"]
        built_in = name in TASKS and TASKS.entry(name).origin == "built-in"
        return _source_of_data(self._task) if built_in else None


def _source_of_data(task: Mapping[str, Any]) -> str:
    """Returns the sources of the examples of a built-in task: its options, its files, and the code that reads them."""
    import lrlora.studies.tasks as readers

    code = sorted(path for path in Path(readers.__file__).parent.iterdir() if path.suffix in (".py", ".npz"))
    named = [Path(text) for text in _paths(task["options"])]
    files = {str(path): _hash_file(path) for path in [*code, *named]}
    packages = [version_of(name) for name in ("scikit-learn", "pandas", "pyarrow")]
    return json.dumps([task, files, packages, platform.python_version()], sort_keys=True, default=str)


def _paths(options: Any) -> Iterator[str]:
    values = options.values() if isinstance(options, Mapping) else options if isinstance(options, list) else [options]
    for value in values:
        if isinstance(value, (Mapping, list)):
            yield from _paths(value)
        elif isinstance(value, str):
            with contextlib.suppress(OSError, ValueError):
                if Path(value).is_file():
                    yield value


def _read_weights(backbone: str) -> str:
    from lrlora.registry import UnknownNameError
    from lrlora.studies.models.backbones import locate

    try:
        place = locate(backbone)
        folder = Path(place)
        if not folder.is_dir():
            from huggingface_hub import try_to_load_from_cache

            known = try_to_load_from_cache(place, "config.json")
            return Path(known).parent.name if isinstance(known, str) else MISSING
        files = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS and path.is_file())
        return hash_values([[path.name, _hash_file_once(path)] for path in files]) if files else MISSING
    except (StudyError, UnknownNameError, OSError, ValueError):
        return MISSING


def hash_values(value: Any) -> str:
    """Returns a hash of nested values that is the same in every process."""
    digest = hashlib.sha256()
    _feed(value, digest)
    return digest.hexdigest()[:16]


def _feed(value: Any, digest: Any) -> None:
    # Each value is told with its type and length, so that no two different values are fed alike.
    try:
        text = json.dumps(value, ensure_ascii=True, allow_nan=True, sort_keys=True)
        digest.update(b"j%d:" % len(text) + text.encode())
        return
    except (TypeError, ValueError):
        pass
    if is_dataclass(value) and not isinstance(value, type):
        for one in fields(value):
            digest.update(f"f{one.name}:".encode())
            _feed(getattr(value, one.name), digest)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            _feed(repr(key), digest)
            _feed(value[key], digest)
    elif isinstance(value, (list, tuple)):
        digest.update(b"l%d:" % len(value))
        for inner in value:
            _feed(inner, digest)
    else:
        array = value.detach().cpu().numpy() if hasattr(value, "detach") else value
        if hasattr(array, "tobytes"):
            digest.update(f"a{getattr(array, 'dtype', '')}{getattr(array, 'shape', '')}:".encode())
            digest.update(array.tobytes())
        else:
            digest.update(b"p" + pickle.dumps(array, protocol=4))


def _hash_file(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _hash_file_once(path: Path) -> str:
    # The change time, which no copy and no tool can set back, is what tells a file that was replaced.
    found = path.stat()
    state = [str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    cached = CachedValue(json.dumps(state))
    known = cached.read()
    if isinstance(known, str):
        return known
    content = _hash_file(path)
    cached.write(content)
    return content

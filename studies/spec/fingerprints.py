"""Fingerprints of what a cell is made of besides its settings: its data, and the weights of its backbone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.value_cache import CachedValue, version_of

MISSING = "missing"
"""Stands for data or weights that are not here yet: no recorded cell has it."""

_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".json", ".txt", ".model"}


@dataclass
class Fingerprints:
    """Reads each content once. The cells of one expansion share an object, so that a later one reads anew."""

    _data: dict[str, dict[str, str]] = field(default_factory=dict)
    _weights: dict[str, str] = field(default_factory=dict)

    def data(self, task: Mapping[str, Any]) -> dict[str, str]:
        """A hash of each split of a task, by its name.

        The hash is of the examples as read, so it changes with the files and with the code that reads them, and not
        with the files' times. For built-in tasks it is cached in the user's cache folder, by the files' content.

        Args:
            task: ``name`` and ``options``.
        """
        key = json.dumps(task, sort_keys=True, default=str)
        if key not in self._data:
            self._data[key] = _read_splits(task)
        return self._data[key]

    def weights(self, backbone: str) -> str:
        """A hash of the files of a backbone; of one on the Hugging Face hub, its commit there.

        Files are hashed again when their size or times differ from when they were hashed last.
        """
        if backbone not in self._weights:
            self._weights[backbone] = _read_weights(backbone)
        return self._weights[backbone]


def _read_splits(task: Mapping[str, Any]) -> dict[str, str]:
    from lrlora.studies.tasks import SPLITS, TASKS, make_task

    built_in = task["name"] in TASKS and TASKS.entry(task["name"]).origin == "built-in"
    cached = CachedValue(_source_of_data(task)) if built_in else None
    if cached is not None and isinstance(known := cached.read(), dict):
        return known
    try:
        made = make_task(task["name"], task["options"])
        labels = list(made.labels)
        found = {split: hash_values([labels, made.split(split)]) for split in SPLITS}
    except Exception:  # whatever a task of a plugin does where its data are not there yet
        return dict.fromkeys(SPLITS, MISSING)
    if cached is not None:
        cached.write(found)
    return found


def _source_of_data(task: Mapping[str, Any]) -> str:
    """What the examples of a built-in task follow from: its options, files, and the code that reads them."""
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
    """A hash of nested values, numbers and arrays among them, that is the same in every process."""
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

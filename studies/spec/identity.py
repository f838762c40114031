"""The parts of a cell's identity, and the differences between two cells of the same settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lrlora.studies.spec.fingerprints import MISSING, Fingerprints
from lrlora.studies.spec.plugin_sources import source_parts
from lrlora.studies.spec.training_version import TRAINING_VERSION
from lrlora.studies.spec.used_plugins import used_plugins

Parts = dict[str, str]
"""Names with hashes or versions: settings, data, backbone, plugins, environment, and lrlora's own training code."""


_CALLED = {
    "settings": "the settings",
    "backbone": "the weights of the backbone",
    "training code": "the version of the training code",
}


def hash_settings(settings: Mapping[str, Any]) -> str:
    """Returns twelve hexadecimal digits that identify resolved settings."""
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def parts_of(
    settings: Mapping[str, Any], threads: int | None, content: Fingerprints, device: str | None = None
) -> Parts:
    """Returns the parts of a cell's identity.

    Args:
        settings: ``task``, ``backbone``, ``config``, ``training`` and ``seed``, resolved.
        threads: PyTorch's threads in the process that runs the cell; None: as many as in this one.
        content: Reads data and weights.
        device: The device that the cell runs on, as for :func:`numeric_environment`.
    """
    from lrlora.studies.tasks import SPLITS

    task, config = settings["task"], settings["config"]
    parts = {"settings": hash_settings(settings), "training code": str(TRAINING_VERSION)}
    for split in SPLITS:
        # A tuning stage leaves the test split alone.
        if split != "test" or settings["training"].get("test_examples") != 0:
            parts[f"data {split}"] = content.data(task, split)
    parts["backbone"] = content.weights(settings["backbone"])
    for what, factory in used_plugins(config, task["name"]).items():
        parts[f"plugin {what}"] = factory.__qualname__
        parts |= source_parts(factory)
    return parts | numeric_environment(threads, device)


def numeric_environment(threads: int | None, device: str | None = None) -> Parts:
    """Returns the properties of machine and process that change the digits of a run.

    Args:
        threads: PyTorch's threads; None: as many as in this process.
        device: ``"cpu"`` or ``"cuda"``; None: ``"cuda"`` if this process can use a GPU.
    """
    import torch

    return {
        "device": device or ("cuda" if torch.cuda.is_available() else "cpu"),
        "threads": str(threads or torch.get_num_threads()),
        "torch": ".".join(torch.__version__.split(".")[:2]),
    }


def hash_parts(parts: Mapping[str, str]) -> str:
    """Returns the id of a cell with these parts: twelve hexadecimal digits."""
    return hash_settings(dict(parts))


def missing_parts(parts: Mapping[str, str]) -> list[str]:
    """Returns the parts that could not be read. Without them no cell is recorded."""
    return [_said(name, {}) for name, value in parts.items() if value == MISSING]


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Returns the differences between two cells, each in a few words.

    >>> changes({"torch": "2.12", "backbone": "a"}, {"torch": "2.13", "backbone": "b"})
    ['the weights of the backbone', 'torch (2.12, now 2.13)']
    """
    plugins = {value: name.split(" ", 2)[2] for name, value in {**before, **after}.items() if name.startswith("plugin")}
    different = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
    said = []
    for name in different:
        words = _said(name, plugins)
        if not name.startswith(("source", "data", "backbone", "settings")):
            words += f" ({before.get(name, 'none')}, now {after.get(name, 'none')})"
        said.append(words)
    return said


def _said(name: str, plugins: Mapping[str, str]) -> str:
    """Returns the name of a part in messages; a method of a plugin's class has the plugin's name."""
    kind, _, rest = name.partition(" ")
    if kind == "source":
        file, _, member = rest.rpartition(" ")
        owner, _, method = member.partition(".")
        called = f"{method} of {plugins.get(owner, owner)}" if method else plugins.get(member, member)
        return f"{called} ({file})"
    if kind == "data":
        return f"the {rest} split of the data"
    if kind in ("package", "plugin"):
        return rest
    return _CALLED.get(name, name)

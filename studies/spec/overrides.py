"""Reads ``--set a.b=c`` and applies it to a configuration."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from lrlora.registry import closest
from lrlora.studies.errors import StudyError, unknown_key
from lrlora.studies.spec.plain_yaml import parse_yaml


def parse_overrides(lines: Iterable[str]) -> dict[str, Any]:
    """Reads ``key=value`` lines; keys may be dotted, values are YAML.

    >>> parse_overrides(["training.steps=10", "seeds=[1, 2]", "base.basis=sinc"])
    {'training.steps': 10, 'seeds': [1, 2], 'base.basis': 'sinc'}

    Raises:
        StudyError: A line has no ``=``, or no key, or a value that is not YAML.
    """
    found: dict[str, Any] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        key = key.strip()
        if not equals or not key or any(not part for part in key.split(".")):
            raise StudyError(f"--set {line!r}: expected key=value, for example training.steps=100")
        found[key] = parse_yaml(value, f"--set {key}")
    return found


def expand_shortcuts(
    overrides: Mapping[str, Any], shortcuts: Mapping[str, str], known: Iterable[str]
) -> dict[str, Any]:
    """Returns overrides with the short names of a study replaced by the keys.

    >>> expand_shortcuts({"bases": ["sinc"], "seeds": [1]}, {"bases": "axes.basis"}, ["axes", "seeds"])
    {'axes.basis': ['sinc'], 'seeds': [1]}

    Raises:
        StudyError: A first key is neither known nor a short name, but near to one.
    """
    known = [*known, *shortcuts]
    for key in overrides:
        first = key.split(".")[0]
        if first not in known and closest(first, known) in shortcuts:
            raise unknown_key(first, known, f"--set {key}")
    return {shortcuts.get(key, key): value for key, value in overrides.items()}


def apply_overrides(
    data: Mapping[str, Any], overrides: Mapping[str, Any], known: Iterable[str], nested: Iterable[str] = ()
) -> dict[str, Any]:
    """Returns nested data with dotted overrides applied; the data passed in is not changed.

    Args:
        data: Nested mappings.
        overrides: As :func:`parse_overrides` makes them.
        known: The keys that may stand first.
        nested: Dotted keys to suggest to who wrote only their last part.

    Raises:
        StudyError: A first key is unknown, or a key leads through something that holds no keys.
    """
    merged: dict[str, Any] = copy.deepcopy(dict(data))
    known = list(known)
    for key, value in overrides.items():
        *parents, last = key.split(".")
        first = parents[0] if parents else last
        if first not in known:
            meant = [dotted for dotted in nested if dotted.rpartition(".")[2] == first]
            if meant:
                raise StudyError(f"--set {key}: unknown key {first!r}; did you mean {meant[0]!r}?")
            raise unknown_key(first, known, f"--set {key}")
        here = merged
        for depth, parent in enumerate(parents):
            if here.get(parent) is None:
                here[parent] = {}
            elif isinstance(here[parent], str) and depth == 0 and parent == "task":
                here[parent] = {"name": here[parent]}  # the short form `task: files` grows into the long one
            here = here[parent]
            if not isinstance(here, dict):
                raise StudyError(f"--set {key}: {'.'.join(parents[: depth + 1])} is {here!r}, which holds no keys")
        here[last] = copy.deepcopy(value)
    return merged

"""``--set a.b=c``: reading such lines, and laying them over a configuration."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lrlora.registry import closest
from lrlora.studies.errors import StudyError, unknown_key


class _Loader(yaml.SafeLoader):
    """YAML, in which 1e-3 is a number, as everybody who writes a learning rate expects (YAML 1.1 wants 1.0e-3)."""


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, where: str) -> Any:
    """Read YAML.

    >>> parse_yaml("{rate: 1e-3, names: [a, b]}", "here")
    {'rate': 0.001, 'names': ['a', 'b']}

    Raises:
        StudyError: It is not YAML; one line with the position.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: makes plain data and nothing else
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise StudyError(f"{where}: not valid YAML{place}: {getattr(error, 'problem', None) or error}") from None


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        StudyError: It does not exist, is not YAML, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise StudyError(f"{path}: not a text file in UTF-8") from None
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise StudyError(f"{path}: expected keys and values, found {type(data).__name__}")
    return data


def parse_overrides(lines: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` lines; keys may be dotted, values are YAML.

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
    """Overrides with a study's short names written out.

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
    """Lay dotted overrides over nested data; the data passed in stays as it is.

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

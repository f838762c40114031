"""Reads YAML. What YAML 1.1 would read otherwise than it is written is refused, or kept as text."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lrlora.studies.decoding import no_such_file, read_text
from lrlora.studies.errors import StudyError

_LARGEST = 100_000
"""The largest number of values of a document; those repeated by aliases count."""

_DEEPEST = 50
"""The largest depth of nested lists and mappings."""

_OCTAL = re.compile(r"^[-+]?0[0-9_]")
_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + name for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}


class _Loader(yaml.SafeLoader):
    """A SafeLoader that makes plain data and refuses what is repeated, recursive, or read otherwise than written.

    Differences to YAML 1.1: ``1e-3`` is a number, as everybody who writes a learning rate expects. Dates and numbers
    to base 60 such as ``12:30`` are text. ``yes``, ``no``, ``on`` and ``off`` without quotes, which would be true or
    false, and numbers such as ``010``, which would be 8, are refused.
    """

    def get_single_node(self) -> Node | None:
        node = super().get_single_node()
        if node is not None:
            self._check_values(node)
            self._check_keys(node, set())
        return node

    def _check_values(self, root: Node) -> None:
        """Checks that a document is plain and finite, before any object is made."""
        sizes: dict[int, int] = {}
        above: set[int] = set()

        def size(node: Node) -> int:
            if id(node) in above:
                raise _refused("an anchor holds itself", node)
            if id(node) in sizes:
                return sizes[id(node)]
            if len(above) > _DEEPEST:
                raise _refused("lists or mappings are nested too deeply", node)
            if node.tag not in _PLAIN:
                raise _refused(f"the tag {node.tag.replace(_TAG, '!!')} is not one of plain data", node)
            if isinstance(node, ScalarNode):
                self._check_scalar(node)
            above.add(id(node))
            total = 1 + sum(size(child) for child in _children(node))
            above.remove(id(node))
            if total > _LARGEST:
                raise _refused(f"more than {_LARGEST:,} values", node)
            sizes[id(node)] = total
            return total

        size(root)

    def _check_scalar(self, node: ScalarNode) -> None:
        """Checks that a value fits its tag, and is read as it looks if it has no quotes."""
        text, tag = node.value, node.tag.removeprefix(_TAG)
        meant = self.resolve(ScalarNode, text, (True, False)).removeprefix(_TAG)  # type: ignore[no-untyped-call]
        if tag not in ("str", meant) and (tag, meant) != ("float", "int"):
            raise _refused(f"{text!r} is not what the tag !!{tag} says", node)
        if tag in ("int", "float") and ":" in text:
            node.tag = _TAG + "str"  # a time of day, or a ratio: no number to base 60
        elif tag == "bool" and text.lower() not in ("true", "false"):
            value = "true" if text.lower() in ("yes", "on") else "false"
            raise _refused(f"{text} without quotes is {value} to YAML; write {value}, or {text!r} for the word", node)
        elif tag == "int" and _OCTAL.match(text):
            raise _refused(f"{text} is a number to base 8 to YAML; write it without the 0, or in quotes", node)

    def _check_keys(self, node: Node, seen: set[int]) -> None:
        """Checks that no key is given twice, before merge keys are applied."""
        if id(node) in seen:
            return
        seen.add(id(node))
        lines: dict[str, int] = {}
        for key_node in [key for key, _ in node.value] if isinstance(node, MappingNode) else ():
            if not isinstance(key_node, ScalarNode) or key_node.tag == _TAG + "merge":
                continue  # SafeLoader refuses the first and merges the second
            key, line = self.construct_object(key_node), key_node.start_mark.line + 1  # type: ignore[no-untyped-call]
            if not isinstance(key, str):
                raise _refused(f"the key {key_node.value} is not text; put it in quotes", key_node)
            if key in lines:
                where = f"in line {line}" if line == lines[key] else f"in lines {lines[key]} and {line}"
                raise _refused(f"the key {key!r} stands twice, {where}", key_node)
            lines[key] = line
        for child in _children(node):
            self._check_keys(child, seen)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_TAG + "timestamp", _TAG + "value")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _TAG + "float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, where: str) -> Any:
    """Reads YAML.

    >>> parse_yaml("{rate: 1e-3, names: [a, 2024-01-01]}", "here")
    {'rate': 0.001, 'names': ['a', '2024-01-01']}

    Raises:
        StudyError: It is not YAML, or says something in a way that is read otherwise than it is written; one line with
            the position.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: makes plain data and nothing else
    except yaml.YAMLError as error:
        raise StudyError(f"{where}: {_explained(error)}") from None
    except RecursionError:
        raise StudyError(f"{where}: lists or mappings are nested too deeply") from None
    except ValueError as error:  # such as a whole number of more digits than Python reads
        raise StudyError(f"{where}: not valid YAML: {error}") from None


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Raises:
        StudyError: It does not exist, is not YAML, or holds something else.
    """
    if not os.path.exists(path):
        raise StudyError(no_such_file(path))
    data = parse_yaml(read_text(path, str(path)), str(path))
    if data is None:
        raise StudyError(f"{path}: is empty; keys and values are wanted")
    if not isinstance(data, dict):
        raise StudyError(
            f"{path}: holds {'a list' if isinstance(data, list) else repr(data)[:60]}, not keys and values"
        )
    return data


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, SequenceNode) else []


def _refused(problem: str, node: Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _explained(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    if type(error) is yaml.MarkedYAMLError:
        return f"{place}: {problem}"
    if isinstance(error, yaml.reader.ReaderError):
        return f"not valid YAML: character {error.position + 1} is {error.character!r}, which text does not hold"
    if problem == "but found another document":
        return f"a second document begins at {place}; a file holds one"
    if problem is not None and "'\\t'" in problem:
        return f"not valid YAML at {place}: a tab; indent with spaces"
    return f"not valid YAML{f' at {place}' if place else ''}: {problem or error}"

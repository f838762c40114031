"""The notation ``"name"`` or ``"name:argument,…"``: how a policy stands in a config file, in JSON, on a command line."""

from __future__ import annotations

import ast
from dataclasses import fields, is_dataclass
from typing import Any


def parse_spec(spec: str) -> tuple[str, list[Any]]:
    """Split a spec into its name and its arguments.

    Arguments are Python literals; what is not a literal is a string.

    >>> parse_spec("uniform")
    ('uniform', [])
    >>> parse_spec("first_last:2")
    ('first_last', [2])
    >>> parse_spec("small:0.02,uniform")
    ('small', [0.02, 'uniform'])
    """
    name, _, rest = spec.strip().partition(":")
    return name, [_literal(part.strip()) for part in rest.split(",")] if rest.strip() else []


def format_spec(name: str, instance: object) -> str:
    """Write a dataclass instance as the spec that :func:`parse_spec` reads back.

    Trailing arguments that equal their defaults are left out.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Small:
    ...     std: float = 0.01
    >>> format_spec("small", Small(0.5)), format_spec("small", Small())
    ('small:0.5', 'small')

    Raises:
        TypeError: ``instance`` is no dataclass, or holds a value that a spec cannot carry.
    """
    if not is_dataclass(instance):
        raise TypeError(f"{instance!r} cannot be written down: {type(instance).__name__} is not a dataclass")
    values = [(getattr(instance, field.name), field.default) for field in fields(instance) if field.init]
    while values and values[-1][0] == values[-1][1]:
        values.pop()
    for value, _ in values:
        if not isinstance(value, (str, int, float, bool)) or (isinstance(value, str) and "," in value):
            raise TypeError(f"{instance!r} cannot be written down: {value!r} is not a number, a truth value or a plain word")
    return name + (":" + ",".join(str(value) for value, _ in values) if values else "")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text

"""The notation ``"name"`` or ``"name:argument,…"``: how a policy stands in a config, in JSON, on a command line."""

from __future__ import annotations

import ast
from dataclasses import Field, fields, is_dataclass
from typing import Any


def parse_spec(spec: str) -> tuple[str, list[Any]]:
    """Split a spec into its name and its arguments.

    Arguments are Python literals; what is not a literal is a string. A comma always separates two arguments.

    >>> parse_spec("uniform")
    ('uniform', [])
    >>> parse_spec("first_last:2")
    ('first_last', [2])
    >>> parse_spec("small:0.02,uniform")
    ('small', [0.02, 'uniform'])
    """
    name, _, rest = spec.strip().partition(":")
    return name.strip(), [_literal(part.strip()) for part in rest.split(",")] if rest.strip() else []


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
    given = [field for field in fields(instance) if field.init]
    positional = [field for field in given if not field.kw_only]
    while positional and _is_default(positional[-1], instance):
        positional.pop()
    for field in given:
        if field.kw_only and not _is_default(field, instance):
            raise TypeError(f"{instance!r} cannot be written down: a spec has no place for the keyword {field.name!r}")
    values = [getattr(instance, field.name) for field in positional]
    spec = name + (":" + ",".join(str(value) for value in values) if values else "")
    # Reading it back is the one test that covers commas, quotes, blanks, infinities and words that look like numbers.
    read = parse_spec(spec)[1]
    if read != values or any(not isinstance(value, type(again)) for value, again in zip(values, read, strict=True)):
        raise TypeError(f"{instance!r} cannot be written down: {spec!r} would not be read as the same values")
    return spec


def _is_default(field: Field[Any], instance: object) -> bool:
    return bool(getattr(instance, field.name) == field.default)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text

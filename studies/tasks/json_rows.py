"""Reading JSON and JSON Lines: numbers stay as they are written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.table import Number, Row, Table, check_columns, kind_of_value


def read_json_lines(text: str, columns: Sequence[str], file: str, where: str) -> Table:
    """Read a file with one object per line. Empty lines are left out.

    Raises:
        StudyError: A line is no JSON object, or lacks a column; one line with its number.
    """
    rows: list[Row] = []
    # Not splitlines(): JSON texts may hold other characters that it splits at.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            at = f"{where}: line {number}"
            rows.append(Row(number, _values(_parse(line, at, several=True), columns, at, first=not rows)))
    if not rows:
        raise StudyError(f"{where}: is empty; one object per line is wanted")
    return Table(file, "line", True, rows)


def read_json(text: str, columns: Sequence[str], file: str, where: str) -> Table:
    """Read a file with a list of objects, or with one object per line.

    Raises:
        StudyError: As :func:`read_json_lines`.
    """
    if text.lstrip()[:1] != "[":
        if text.lstrip()[:1] == "{" and not _is_whole(text.lstrip().split("\n")[0]):
            raise StudyError(f"{where}: holds an object; a list of objects is wanted, or one object per line")
        return read_json_lines(text, columns, file, where)
    found = _parse(text, where, several=False)
    if not found:
        raise StudyError(f"{where}: holds an empty list")
    values = (_values(one, columns, f"{where}: row {i}", first=i == 1) for i, one in enumerate(found, 1))
    return Table(file, "row", True, [Row(i, one) for i, one in enumerate(values, 1)])


class _Repeating(dict[str, Any]):
    """An object in which a key stands twice."""

    key: str = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeating = _Repeating(found)
    names = [name for name, _ in pairs]
    repeating.key = next(name for i, name in enumerate(names) if name in names[:i])
    return repeating


def _parse(text: str, where: str, several: bool) -> Any:
    try:
        return json.loads(
            text,
            parse_float=Number,
            parse_int=Number,
            parse_constant=lambda name: None,  # NaN, by which NumPy and pandas mean that there is nothing
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if several else f"line {error.lineno}, column {error.colno}"
        raise StudyError(f"{where}: {place}: not JSON: {error.msg}") from None
    except RecursionError:
        raise StudyError(f"{where}: lists or objects are nested too deeply") from None


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError) as error:
        # One that is wrong further on is told of with its line; one that just ends goes on in the next line.
        return not (isinstance(error, json.JSONDecodeError) and error.pos >= len(line.rstrip()))
    return True


def _values(found: Any, columns: Sequence[str], where: str, first: bool) -> tuple[Any, ...]:
    if not isinstance(found, dict):
        raise StudyError(f"{where}: holds {kind_of_value(found)}, not an object with columns")
    if isinstance(found, _Repeating):
        raise StudyError(f"{where}: the key {found.key!r} stands twice")
    if first:
        check_columns(list(found), columns, where)
    for column in columns:
        if column not in found:
            raise StudyError(f"{where}: has no {column!r}")
    return tuple(found[column] for column in columns)

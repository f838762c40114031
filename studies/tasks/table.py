"""A table of the user's own, as it was written: its rows, where each stands, and what its cells hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lrlora.studies.errors import StudyError, unknown_key

_SHOWN = 60
"""Characters of a value that a message quotes."""


class Number(str):
    """A number as it is written: ``1.10`` and ``1.1`` are two classes, as in a CSV file."""

    __slots__ = ()


class Row(NamedTuple):
    """The cells of the columns that were asked for, in that order.

    ``number`` is that of the line on which the row begins, or of the row, from 1.
    """

    number: int
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        file: Its path.
        unit: What the numbers of rows count: ``line`` or ``row``.
        typed: Whether the format tells ``1`` from ``"1"``. CSV does not.
        rows: At least one.
    """

    file: str
    unit: str
    typed: bool
    rows: list[Row]

    def at(self, number: int) -> str:
        """Where a row is, for messages."""
        return f"{self.file}: {self.unit} {number}"


def short(value: object) -> str:
    """A value as messages quote it.

    >>> short("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    shown = str.__repr__(value[: _SHOWN + 1]) if isinstance(value, str) else repr(value)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."


def check_columns(names: Sequence[str], wanted: Iterable[str], where: str) -> None:
    """See that the columns of a file have names of their own and are those that are asked for.

    Raises:
        StudyError: A name stands twice, or a column is missing; with the nearest that is there.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(names, 1):
        if name in places and name:  # spreadsheets leave columns without a name
            raise StudyError(f"{where}: columns {places[name]} and {place} are both called {short(name)}")
        places[name] = place
    for column in wanted:
        if column not in places:
            known = [name if len(name) <= _SHOWN else name[: _SHOWN - 3] + "..." for name in names[:20]]
            message = str(unknown_key(column, known, where))
            raise StudyError(message.replace("unknown key", "no column", 1))


def kind_of_value(value: object) -> str:
    """What a cell holds, in words."""
    if value is None:
        return "nothing"
    kinds = ((Number, "a number"), (str, "text"), (bool, "true or false"), (list, "a list"), (dict, "an object"))
    return next((words for kind, words in kinds if isinstance(value, kind)), f"a {type(value).__name__}")


def as_written(value: object) -> str:
    """A text, a number, or true or false, as it is written in JSON, text without its quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def text_of(value: object, column: str, where: str) -> str:
    """A cell that has to hold text.

    Raises:
        StudyError: It holds something else, nothing but white space, or half of a surrogate pair.
    """
    if not isinstance(value, str) or isinstance(value, Number):
        raise StudyError(f"{where}: column {column!r} holds {kind_of_value(value)}, not text: {short(value)}")
    return _whole(value, column, where)


def name_of(value: object, column: str, where: str) -> str:
    """A cell that has to hold a name such as a class: text, a number, or true or false; see :func:`as_written`.

    Raises:
        StudyError: It holds something else or nothing.
    """
    if not isinstance(value, str | bool):
        found = kind_of_value(value)
        raise StudyError(f"{where}: column {column!r} holds {found}, not text or a number: {short(value)}")
    return _whole(as_written(value), column, where)


def _whole(text: str, column: str, where: str) -> str:
    if not text.strip():
        raise StudyError(f"{where}: column {column!r} is empty")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x}"
            raise StudyError(f"{where}: column {column!r}: {half} is half of a character, and stands alone") from None
    return str(text)

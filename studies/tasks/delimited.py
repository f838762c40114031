"""Reading CSV and TSV as text: no field is taken for a number, a date or a missing value."""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from collections.abc import Iterator, Sequence

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.table import Row, Table, check_columns, short

_NAMES = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar"}


def read_delimited(text: str, delimiter: str, columns: Sequence[str], file: str, where: str) -> Table:
    """Read the rows of a CSV or TSV file.

    Empty lines are left out. Quotes are those of RFC 4180: a quoted field may hold delimiters, line ends, and quotes
    that are doubled.

    Raises:
        StudyError: A row has another number of fields than the header, quotes are not closed, or a column is missing
            or stands twice; one line with the number of the line.
    """
    lines = _fields(text, delimiter, where)
    _, header = next(lines, (0, None))
    if header is None:
        raise StudyError(f"{where}: is empty; the first line names the columns")
    _check_delimiter(header, delimiter, columns, where)
    check_columns(header, columns, where)
    places = [header.index(column) for column in columns]
    rows = []
    for number, fields in lines:
        if len(fields) != len(header):
            hint = "quote a field that holds" if len(fields) > len(header) else "fields are separated by"
            raise StudyError(
                f"{where}: line {number}: {_count(len(fields))}, where the header has {len(header)}; "
                f"{hint} {_NAMES[delimiter]}: {short(delimiter.join(fields))}"
            )
        rows.append(Row(number, tuple(fields[place] for place in places)))
    if not rows:
        raise StudyError(f"{where}: holds a header and no rows")
    return Table(file, "line", False, rows)


def _fields(text: str, delimiter: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of each row that is not empty, with the number of the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            with _long_fields():
                fields = next(reader, None)
        except csv.Error as error:
            wrong = "a quote opens and never closes" if "end of data" in str(error) else "text follows a closing quote"
            raise StudyError(f'{where}: line {number}: {wrong}; write a quote within a text twice, as ""') from None
        if fields is None:
            return
        if len(fields) > 1 or (fields and fields[0].strip()):
            yield number, fields


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """The csv module refuses fields of over 131,072 characters unless told otherwise, for the whole process."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check_delimiter(header: list[str], delimiter: str, columns: Sequence[str], where: str) -> None:
    if len(header) > 1 or header[0] in columns:
        return
    for other in _NAMES:
        if other != delimiter and set(columns) <= {name.strip().strip('"') for name in header[0].split(other)}:
            raise StudyError(
                f"{where}: the header is separated by {_NAMES[other]}, not by {_NAMES[delimiter]}: {short(header[0])}"
            )


def _count(fields: int) -> str:
    return "1 field" if fields == 1 else f"{fields} fields"

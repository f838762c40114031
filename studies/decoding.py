"""Reading what users wrote as text: UTF-8, or one line that says what it is instead."""

from __future__ import annotations

from pathlib import Path

from lrlora.registry import closest
from lrlora.studies.errors import StudyError

_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""By the bytes that a file begins with, the encoding that they stand for; the longer marks first."""


def read_text(path: Path, where: str) -> str:
    """Read a file as UTF-8, with or without a byte order mark. Line ends stay as they are.

    Args:
        path: The file.
        where: How messages begin.

    Raises:
        StudyError: It cannot be opened, or is not text in UTF-8; one line with the line number.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte
        raise StudyError(f"{where}: {getattr(error, 'strerror', None) or error}") from None
    return decode_text(content, where)


def no_such_file(path: Path) -> str:
    """Returns a message that a file does not exist, with the folder that was searched and the nearest file in it."""
    folder = path.parent if path.is_absolute() else Path.cwd() / path.parent
    try:
        near = closest(path.name, [one.name for one in folder.iterdir()])
    except OSError:
        return f"{path}: No such file: there is no folder {folder}"
    return f"{path}: No such file in {folder}" + (f"; did you mean {path.with_name(near)}?" if near else "")


def decode_text(content: bytes, where: str) -> str:
    """Decode UTF-8; see :func:`read_text`.

    >>> decode_text(bytes([0xFF, 0xFE, 0x61, 0x00]), "a.csv")
    Traceback (most recent call last):
    lrlora.studies.errors.StudyError: a.csv: is in UTF-16; save the file as UTF-8
    """
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            raise StudyError(f"{where}: is in {encoding}; save the file as UTF-8")
    # Before decoding: UTF-16 without a mark is often valid UTF-8, with a NUL at every second place.
    if (nul := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, nul) + 1
        raise StudyError(f"{where}: line {line}: a NUL byte: UTF-16, or no text file; save the file as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Positions in the error do not count a mark that was removed.
        wrong = error.object[error.start]
        line = error.object.count(b"\n", 0, error.start) + 1
        raise StudyError(
            f"{where}: line {line}: byte {wrong:#04x} is not UTF-8, but perhaps latin-1 or cp1252; "
            "save the file as UTF-8"
        ) from None

"""The error that users of exports see."""

from __future__ import annotations


class ExportError(ValueError):
    """The export or import is not possible. The message is one line: what, where, and what to do."""


def one_line(error: BaseException) -> str:
    """Returns the message of another library's error on one line."""
    return " ".join(str(error).split()) or type(error).__name__

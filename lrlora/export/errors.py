"""The error that a user of exports can act on."""

from __future__ import annotations


class ExportError(ValueError):
    """What was asked for cannot be exported or imported. The message is one line: what, where, what instead."""


def one_line(error: BaseException) -> str:
    """What an error of another library says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__

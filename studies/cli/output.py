"""What commands print and write."""

from __future__ import annotations

from pathlib import Path


def say(line: str, stderr: bool = False) -> None:
    """Print a line as it is."""
    from rich.console import Console

    Console(stderr=stderr, soft_wrap=True).print(line, markup=False, highlight=False)


def write_text(file: Path, text: str) -> None:
    """Write a text to a file.

    Raises:
        StudyError: It cannot be written; one line.
    """
    from lrlora.studies.errors import StudyError

    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"{file}: cannot be written: {error.strerror or error}") from None

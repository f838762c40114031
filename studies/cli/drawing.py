"""The option ``--out`` of commands that draw, and its checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lrlora.studies.errors import StudyError

Figure = Annotated[
    Path | None, typer.Option("--out", metavar="FILE.svg", help="By default the name with .svg, in the current folder.")
]


def draw_into(out: Path | None, name: str, draw: Callable[[], str]) -> None:
    """Draw a figure and write it. Whether it can be written is checked first.

    Raises:
        StudyError: It cannot be written there, or is no SVG by its name.
    """
    path = out or Path("".join(c if c.isalnum() or c in "._" else "-" for c in name) + ".svg")
    if path.suffix != ".svg":
        raise StudyError(f"--out {path}: figures are SVG files; use {path.with_suffix('.svg')}")
    _check_place(path)
    _write_figure(path, draw())
    Console(soft_wrap=True).print(f"wrote {path}", markup=False, highlight=False)


def _check_place(path: Path) -> None:
    """Check that a figure can be written, since drawing it may take minutes.

    Args:
        path: Where.

    Raises:
        StudyError: It cannot.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise StudyError(f"--out {path}: {'is a folder' if path.is_dir() else 'its folder does not exist'}")


def _write_figure(path: Path, svg: str) -> None:
    """Write the figure; see :func:`_check_place`.

    Raises:
        StudyError: It cannot be written there.
    """
    try:
        path.write_text(svg, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"--out {path}: {error.strerror}") from None

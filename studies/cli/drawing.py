"""What the commands that draw have in common: where the figure goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

Figure = Annotated[
    Path | None, typer.Option("--out", metavar="FILE.svg", help="By default the name with .svg, in the current folder.")
]


def draw_into(out: Path | None, name: str, draw: Callable[[], str]) -> None:
    """Draw a figure and write it; where it cannot be written, that is said before anything is drawn.

    Raises:
        StudyError: It cannot be written there, or is no SVG by its name.
    """
    from rich.console import Console

    from lrlora.studies.bench.scaling_plot import check_place, write_figure
    from lrlora.studies.errors import StudyError

    path = out or Path("".join(c if c.isalnum() or c in "._" else "-" for c in name) + ".svg")
    if path.suffix != ".svg":
        raise StudyError(f"--out {path}: the figure is an SVG; call it {path.with_suffix('.svg')}")
    check_place(path, "--out")
    write_figure(path, draw(), "--out")
    Console(soft_wrap=True).print(f"wrote {path}", markup=False, highlight=False)

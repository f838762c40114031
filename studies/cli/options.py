"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrlora.registry import load_plugin
from lrlora.studies.errors import StudyError

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, for example training.steps=50. Repeatable."),
]
Plugin = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file or module that registers something. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that a study was run into.")]


def load_plugins(plugins: list[str] | None) -> None:
    """Import what ``--plugin`` names.

    Raises:
        StudyError: One does not import; with its cause.
    """
    for plugin in plugins or ():
        try:
            load_plugin(plugin)
        except ImportError as error:
            raise StudyError(str(error)) from error

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
Json = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a study.")]
Recorded = Annotated[Path, typer.Argument(metavar="DIR|FILE", help="The folder of a study, or a file of its records.")]


def load_plugins(plugins: list[str] | None) -> None:
    """Import the plugins that ``--plugin`` names.

    Raises:
        StudyError: If one cannot be imported; with the cause.
    """
    for plugin in plugins or ():
        try:
            load_plugin(plugin)
        except ImportError as error:
            raise StudyError(str(error)) from error

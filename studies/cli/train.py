"""``lrlora train``: one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrlora.studies.cli.options import Plugin, Set, load_plugins


def train(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG.yaml", help="Keys: name, task, backbone, adapter, training, seed; all optional."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of the record; by default runs/NAME.")
    ] = None,
    settings: Set = None,
    plugin: Plugin = None,
) -> None:
    """Train one adapter as described in a file, and record it as a study of one cell."""
    from lrlora.studies.cli.running import run_and_report
    from lrlora.studies.execution.single import BUDGET, load_single

    load_plugins(plugin)
    study = load_single(config, settings or ())
    raise typer.Exit(run_and_report(study, BUDGET, out or Path("runs") / study.name))

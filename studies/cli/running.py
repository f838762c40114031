"""Options of the commands that run cells, and what these commands print at their end."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lrlora.studies.errors import StudyError

if TYPE_CHECKING:
    from lrlora.studies.execution.deciding import UntilDecided
    from lrlora.studies.execution.resources import Execution
    from lrlora.studies.record.results import Results
    from lrlora.studies.spec.study import Study


Workers = Annotated[
    str, typer.Option(metavar="N|auto", help="Cells that run at the same time; auto: one per core, or one per GPU.")
]
ThreadsPerCell = Annotated[
    int, typer.Option(help="PyTorch threads of each cell; another number can change the last digits.", min=1)
]
GpusPerCell = Annotated[
    int | None, typer.Option(metavar="N", help="GPUs of each cell; by default 1 if there are any; 0 trains on the CPU.")
]
CellTimeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Time limit of a cell, after which it has failed; by default none."),
]
Storage = Annotated[
    str | None, typer.Option(metavar="URL", help="Address of the Optuna store; by default optuna.db in the folder.")
]
ExecutorName = Annotated[
    str, typer.Option("--executor", metavar="local|ray", help="Where cells run: on this machine or on a Ray cluster.")
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI|env",
        help="Address of the MLflow store; by default mlflow.db in the folder. env: MLFLOW_TRACKING_URI of the shell.",
    ),
]
ReuseFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--reuse", metavar="FILE", help="Take cells from a file that study export --records wrote. Repeatable."
    ),
]
NoReuse = Annotated[
    bool, typer.Option("--no-reuse", help="Do not take cells that other studies in the same store have finished.")
]
CheckpointMinutes = Annotated[float, typer.Option(help="Minutes between checkpoints of a cell.")]
Address = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Address of the Ray cluster; by default a new one on this machine."),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="decided", help="Add seeds until every claim is settled, or could hardly be settled."),
]
MaxHours = Annotated[
    float | None,
    typer.Option(metavar="HOURS", help="With --until: time of all commands together after which no cell is begun."),
]
MaxSeeds = Annotated[
    int | None, typer.Option(metavar="N", help="With --until: the most seeds of a variant, 3 to 20; by default 20.")
]


def until_decided(until: str | None, max_hours: float | None, max_seeds: int | None) -> UntilDecided | None:
    """Returns when a study ends whose claims are to be decided; None for one of the declared seeds.

    Raises:
        StudyError: ``--until`` is another word, or it is missing; one line.
    """
    if until is None:
        for option, value in (("--max-hours", max_hours), ("--max-seeds", max_seeds)):
            if value is not None:
                raise StudyError(f"{option} {value:g}: needs --until decided")
        return None
    if until != "decided":
        raise StudyError(f"--until {until}: the only word is decided")
    from lrlora.studies.execution.deciding import UntilDecided

    return UntilDecided(max_hours, **({} if max_seeds is None else {"max_seeds": max_seeds}))


def worker_count(workers: str) -> int | None:
    """Returns the number that ``--workers`` gives; None for ``auto``.

    Raises:
        StudyError: If it is neither; one line.
    """
    if workers != "auto" and not workers.isdecimal():
        raise StudyError(f"--workers {workers}: a number, or auto")
    return None if workers == "auto" else int(workers)


def run_and_report(
    study: Study, budget: str, out: Path, execution: Execution | None = None, until: UntilDecided | None = None
) -> int:
    """Run a study, write its report, and print where they are.

    Returns:
        The exit status: 0, or 1 if a cell failed.
    """
    results = study.run(budget, out, Console(stderr=True), execution, until)
    if results.records:
        show_report(results)
    failed = [record for record in results.records if record["status"] == "failed"]
    for record in failed:
        reason = str(record["reason"]).strip().splitlines()[-1]
        _say(f"failed: {record['variant']} seed {record['seed']}: {reason}", Console(stderr=True, soft_wrap=True))
    return 1 if failed else 0


def show_report(results: Results, out: Path | None = None) -> None:
    """Write the report, print its table, and print where it is and how to open it.

    Args:
        results: What it is about.
        out: Its folder; by default in the study's, or beside a file of records.
    """
    from lrlora.studies.record.store import Place

    console = Console()
    folder = results.report(out)
    results.print_summary(console)
    _say("", console)
    _say(f"report:  {folder / 'index.html'}", console)
    if results.out.is_file():
        return
    place = Place.read(results.out)
    if place is not None and place.address is not None:
        _say(f"record:  {place.address}", console)
        return
    _say(f"record:  {results.out / 'mlflow.db'}, {results.out / 'optuna.db'}", console)
    _say(f"browse:  lrlora ui {shlex.quote(str(results.out))}", console)


def _say(line: str, console: Console) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)

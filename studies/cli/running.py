"""What the commands that run something share: the options for where it runs, and what they do at their end."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lrlora.studies.errors import StudyError

if TYPE_CHECKING:
    from lrlora.studies.execution.resources import Execution
    from lrlora.studies.record.results import Results
    from lrlora.studies.spec.study import Study


Workers = Annotated[
    str, typer.Option(metavar="N|auto", help="Cells at a time; auto: as many as cores, or one for each GPU.")
]
ThreadsPerCell = Annotated[
    int, typer.Option(help="PyTorch's threads in each cell; another number can change digits.", min=1)
]
GpusPerCell = Annotated[
    int | None, typer.Option(metavar="N", help="By default 1 where there are GPUs; 0 trains on the CPU.")
]
CellTimeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="End a cell as failed after so long; by default never.")
]
Storage = Annotated[
    str | None, typer.Option(metavar="URL", help="Of Optuna's store; by default optuna.db in the folder.")
]
ExecutorName = Annotated[
    str, typer.Option("--executor", metavar="local|ray", help="Where workers run: this machine, or a Ray cluster.")
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI|env",
        help="Of MLflow's store; by default mlflow.db in the folder. env: as the shell says.",
    ),
]
Reuse = Annotated[
    bool, typer.Option("--reuse/--no-reuse", help="Take cells that another study of the store has finished.")
]
CheckpointMinutes = Annotated[float, typer.Option(help="Between checkpoints of a cell, from which it goes on.")]
Address = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of the Ray cluster; by default one made here.")]


def execution_of(
    workers: str,
    threads_per_cell: int,
    gpus_per_cell: int | None,
    cell_timeout: float | None = None,
    storage: str | None = None,
    executor: str = "local",
    address: str | None = None,
    tracking_uri: str | None = None,
    reuse: bool = True,
    checkpoint_minutes: float = 5.0,
) -> Execution:
    """What the options say.

    Raises:
        StudyError: One of them cannot be; one line.
    """
    from lrlora.studies.execution.resources import Execution

    if workers != "auto" and not workers.isdecimal():
        raise StudyError(f"--workers {workers}: a number, or auto")
    count = None if workers == "auto" else int(workers)
    return Execution(
        count,
        threads_per_cell,
        gpus_per_cell,
        cell_timeout,
        storage,
        executor,
        address,
        tracking_uri,
        reuse,
        checkpoint_minutes,
    )


def run_and_report(study: Study, budget: str, out: Path, execution: Execution | None = None) -> int:
    """Run a study, write its report, and say where everything is.

    Returns:
        The exit status: 0, or 1 if a cell failed.
    """
    results = study.run(budget, out, Console(stderr=True), execution)
    if results.records:
        show_report(results)
    failed = [record for record in results.records if record["status"] == "failed"]
    for record in failed:
        reason = str(record["reason"]).strip().splitlines()[-1]
        _say(f"failed: {record['variant']} seed {record['seed']}: {reason}", Console(stderr=True, soft_wrap=True))
    return 1 if failed else 0


def show_report(results: Results) -> None:
    """Write the report, show its table, and say where everything is and how to open it."""
    from lrlora.studies.record.store import Place

    console = Console()
    folder = results.report()
    results.print_summary(console)
    _say("", console)
    _say(f"report:  {folder / 'index.html'}", console)
    place = Place.read(results.out)
    if place is not None and place.address is not None:
        _say(f"record:  {place.address}", console)
        return
    _say(f"record:  {results.out / 'mlflow.db'}, {results.out / 'optuna.db'}", console)
    _say(f"browse:  lrlora ui {shlex.quote(str(results.out))}", console)


def _say(line: str, console: Console) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)

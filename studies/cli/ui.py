"""``lrlora ui``: the dashboards of MLflow and Optuna on a study's record."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from lrlora.studies.cli.options import Folder


def ui(
    folder: Folder,
    port: Annotated[int, typer.Option(help="MLflow's port; Optuna's dashboard takes the next one.")] = 5000,
) -> None:
    """Open the record of a study in MLflow's pages, and in Optuna's if optuna-dashboard is installed.

    The pages are served to this machine only, until Ctrl-C.
    """
    from rich.console import Console

    from lrlora.studies.errors import StudyError
    from lrlora.studies.record.addresses import sqlite_address
    from lrlora.studies.record.store import Place

    place = Place.read(folder)
    if place is not None and place.address is not None:
        raise StudyError(f"{folder}: its record is at {place.address}: open that in a browser, or with mlflow ui")
    if not (folder / "mlflow.db").is_file():
        raise StudyError(f"{folder}: no study was run here (no mlflow.db)")
    console = Console(soft_wrap=True)
    mlflow = ["mlflow", "server", "--backend-store-uri", sqlite_address(folder.resolve() / "mlflow.db")]
    mlflow += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    commands = [[sys.executable, "-m", *mlflow]]
    console.print(f"MLflow:  http://127.0.0.1:{port}", markup=False, highlight=False)
    if find_spec("optuna_dashboard") is not None:
        start = "from optuna_dashboard._cli import main; main()"
        optuna = [sqlite_address(folder.resolve() / "optuna.db"), "--host", "127.0.0.1", "--port", str(port + 1)]
        commands.append([sys.executable, "-c", start, *optuna])
        console.print(f"Optuna:  http://127.0.0.1:{port + 1}", markup=False, highlight=False)
    else:
        console.print("Optuna:  pip install optuna-dashboard shows its pages too", markup=False, highlight=False)
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}  # what the servers' libraries deprecate is not the user's concern
    servers = [subprocess.Popen(command, env=quiet) for command in commands]
    try:
        status = servers[0].wait()
    except KeyboardInterrupt:
        status = 0
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()
    raise typer.Exit(status)

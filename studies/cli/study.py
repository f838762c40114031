"""``lrlora study``: list, plan, run, status, report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrlora.studies.cli.options import Folder, Json, Plugin, Set, load_plugins

if TYPE_CHECKING:
    from lrlora.studies.design import Study

app = typer.Typer(help="Studies: declared comparisons, run cell by cell and recorded.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME_OR_YAML", help="A built-in study, or the path of a YAML file.")]
Budget = Annotated[str, typer.Option(help="One of the study's budgets: smoke (a minute), quick (minutes), full.")]


@app.command("list")
def list_studies(as_json: Json = False) -> None:
    """List the built-in studies."""
    from lrlora.studies.catalog import catalog_names
    from lrlora.studies.design import Study

    studies = [Study.load(name) for name in catalog_names()]
    if as_json:
        found = [
            {
                "name": one.name,
                "question": one.question,
                "tasks": [task.label for task in one.tasks],
                "backbones": one.backbones,
                "budgets": list(one.budgets),
            }
            for one in studies
        ]
        print(json.dumps(found, indent=1))
        return
    _table(("name", "what it asks", "budgets"), [(one.name, one.question, ", ".join(one.budgets)) for one in studies])


@app.command("plan")
def plan_study(
    study: Name,
    budget: Budget = "quick",
    out: Annotated[Path | None, typer.Option(help="Say what is done already in this folder.")] = None,
    settings: Set = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Show the cells of a study and what they will cost. Writes nothing."""
    from lrlora.studies.checks import check_design, check_folder
    from lrlora.studies.design import Study

    load_plugins(plugin)
    resolved = Study.load(study, settings or ()).resolve(budget)
    check_design(resolved)
    records: dict[str, dict[str, Any]] = {}
    if out is not None:
        resolved = check_folder(out, resolved)
        if (out / "mlflow.db").exists():
            from lrlora.studies.results import read_records

            records = read_records(out, resolved.name)
    plan = _plan(resolved, budget, records)
    if as_json:
        print(json.dumps(plan, indent=1))
    else:
        _print_plan(plan)


@app.command("run")
def run_study(
    study: Name,
    budget: Budget = "quick",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the record goes; by default runs/NAME-BUDGET.")
    ] = None,
    settings: Set = None,
    plugin: Plugin = None,
) -> None:
    """Run what is missing of a study and write its report. Interrupt it as you like; the same command goes on."""
    from lrlora.studies.cli.running import run_and_report
    from lrlora.studies.design import Study, default_out

    load_plugins(plugin)
    loaded = Study.load(study, settings or ())
    loaded.resolve(budget)
    raise typer.Exit(run_and_report(loaded, budget, out or default_out(loaded.name, budget)))


@app.command("status")
def show_status(folder: Folder, as_json: Json = False) -> None:
    """Show how far a study is."""
    from lrlora.studies.cells import expand_cells
    from lrlora.studies.progress import describe
    from lrlora.studies.results import Results

    results = Results.load(folder)
    ended = {record["cell"]: record for record in results.records}
    cells = expand_cells(results.study)
    if as_json:
        states = [
            {"cell": cell.id, "variant": cell.variant.name, "seed": cell.seed, "status": ended[cell.id]["status"]}
            if cell.id in ended
            else {"cell": cell.id, "variant": cell.variant.name, "seed": cell.seed, "status": "missing"}
            for cell in cells
        ]
        print(json.dumps({"study": results.study.name, "budget": results.budget, "cells": states}, indent=1))
        return
    rows = [(cell.id, cell.label, describe(ended[cell.id]) if cell.id in ended else "missing") for cell in cells]
    _table(("cell", "variant and seed", "outcome"), rows)
    _say(f"{len(results.records)} of {results.planned} cells of {results.study.name} ({results.budget}) have ended")


@app.command("report")
def write_report(folder: Folder) -> None:
    """Write the report of what a study has recorded, and show its table."""
    from lrlora.studies.cli.running import show_report
    from lrlora.studies.errors import StudyError
    from lrlora.studies.results import Results

    results = Results.load(folder)
    if not results.records:
        raise StudyError(f"{folder}: no cell has ended yet; go on with: lrlora study run")
    show_report(results)


@app.command("schema")
def show_schema() -> None:
    """Print the JSON schema of study files, for editors that complete YAML by one."""
    from lrlora.studies.json_schema import study_schema

    print(json.dumps(study_schema(), indent=1))


def _plan(study: Study, budget: str, records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    from lrlora.studies.cells import expand_cells
    from lrlora.studies.cost import estimate_seconds
    from lrlora.studies.outcomes import FINAL, outcome_of_record

    cells = expand_cells(study)
    done = {key: record for key, record in records.items() if outcome_of_record(record) in FINAL}
    missing = [cell for cell in cells if cell.id not in done]
    return {
        "study": study.name,
        "question": study.question,
        "budget": budget,
        "tasks": [task.label for task in study.tasks],
        "backbones": study.backbones,
        "variants": list(dict.fromkeys(cell.variant.name for cell in cells)),
        "reference": study.reference,
        "seeds": study.seeds,
        "cells": [
            {
                "id": cell.id,
                "variant": cell.variant.name,
                "seed": cell.seed,
                "config": cell.variant.config,
                "training": cell.variant.training.resolved(),
                "done": cell.id in done,
            }
            for cell in cells
        ],
        "estimated": {
            "cells": len(missing),
            "steps": sum(cell.variant.training.steps for cell in missing),
            "seconds": estimate_seconds(missing, study.seconds_per_example, list(done.values())),
        },
    }


def _print_plan(plan: dict[str, Any]) -> None:
    rows = [
        (cell["id"], cell["variant"], str(cell["seed"]), str(cell["training"]["steps"]), "done" if cell["done"] else "")
        for cell in plan["cells"]
    ]
    _table(("cell", "variant", "seed", "steps", ""), rows)
    cost = plan["estimated"]
    time = "" if cost["seconds"] is None else f", about {_duration(cost['seconds'])} on two cores"
    _say(f"{plan['study']} at budget {plan['budget']}: {plan['question']}")
    _say(f"task {', '.join(plan['tasks'])}, backbone {', '.join(plan['backbones'])}, compared with {plan['reference']}")
    _say(f"to run: {cost['cells']} of {len(rows)} cells, {cost['steps']} steps{time}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    Console().print(table)


def _say(line: str) -> None:
    from rich.console import Console

    Console(soft_wrap=True).print(line, markup=False, highlight=False)

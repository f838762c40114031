"""``lrlora study``: list, plan, run, status, power, report, export, compare, claims."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrlora.studies.cli import study_power, study_status
from lrlora.studies.cli.options import Json, Plugin, Recorded, Set, load_plugins
from lrlora.studies.cli.output import say, write_text
from lrlora.studies.cli.records import export_records
from lrlora.studies.cli.running import (
    Address,
    CellTimeout,
    CheckpointMinutes,
    ExecutorName,
    GpusPerCell,
    MaxHours,
    MaxSeeds,
    NoReuse,
    ReuseFiles,
    Storage,
    ThreadsPerCell,
    TrackingUri,
    Until,
    Workers,
    worker_count,
)

if TYPE_CHECKING:
    from lrlora.studies.record.results import Results

app = typer.Typer(help="Run, watch and report studies: declared comparisons of adapters.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME_OR_YAML", help="A built-in study, or the path of a YAML file.")]
Budget = Annotated[str, typer.Option(help="One of the study's budgets: smoke (a minute), quick (minutes), full.")]


@app.command("list")
def list_studies(as_json: Json = False) -> None:
    """List the built-in studies."""
    from lrlora.studies.catalog import catalog_names
    from lrlora.studies.spec.study import Study

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
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also show which cells have been run in this folder.")
    ] = None,
    workers: Workers = "auto",
    threads_per_cell: ThreadsPerCell = 1,
    gpus_per_cell: GpusPerCell = None,
    settings: Set = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Show the cells of a study, their parameters and about how long they take. Nothing is written or downloaded."""
    from lrlora.studies.execution.checks import check_design, check_folder, with_tuned
    from lrlora.studies.execution.plan import plan
    from lrlora.studies.execution.resources import Execution
    from lrlora.studies.execution.tuning import FOLDER
    from lrlora.studies.record.versions import describe_earlier
    from lrlora.studies.spec.cells import expand_cells
    from lrlora.studies.spec.study import Study
    from lrlora.studies.spec.value_cache import caching_by_code

    load_plugins(plugin)
    with nullcontext() if plugin else caching_by_code():
        resolved = Study.load(study, settings or ()).resolve(budget)
        if out is not None:
            resolved = with_tuned(resolved, out)
        check_design(resolved)
        if out is not None:
            resolved = check_folder(out, resolved)
        execution = Execution(worker_count(workers), threads_per_cell, gpus_per_cell)
        if out is None:
            found = plan(resolved, budget, execution=execution) | {"changed": []}
        else:
            records = _records(out)
            found = plan(resolved, budget, records, _records(out / FOLDER), execution)
            found["changed"] = describe_earlier(expand_cells(resolved, threads_per_cell, execution.device), records)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _print_plan(found)


@app.command("run")
def run_study(
    study: Name,
    budget: Budget = "quick",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of the record; by default runs/NAME-BUDGET.")
    ] = None,
    workers: Workers = "auto",
    threads_per_cell: ThreadsPerCell = 1,
    gpus_per_cell: GpusPerCell = None,
    cell_timeout: CellTimeout = None,
    checkpoint_minutes: CheckpointMinutes = 5.0,
    storage: Storage = None,
    tracking_uri: TrackingUri = None,
    reuse: ReuseFiles = None,
    no_reuse: NoReuse = False,
    executor: ExecutorName = "local",
    address: Address = None,
    until: Until = None,
    max_hours: MaxHours = None,
    max_seeds: MaxSeeds = None,
    settings: Set = None,
    plugin: Plugin = None,
) -> None:
    """Run the cells of a study that have not been run, and write its report. To resume after an interruption, run the
    same command again. With --until decided, seeds are added where claims are open.
    """
    from lrlora.studies.cli.running import run_and_report, until_decided
    from lrlora.studies.execution.resources import Execution
    from lrlora.studies.spec.study import Study, default_out

    load_plugins(plugin)
    execution = Execution(
        workers=worker_count(workers),
        threads_per_cell=threads_per_cell,
        gpus_per_cell=gpus_per_cell,
        cell_timeout=cell_timeout,
        storage=storage,
        executor=executor,
        address=address,
        tracking_uri=tracking_uri,
        reuse=not no_reuse,
        reuse_files=tuple(reuse or ()),
        checkpoint_minutes=checkpoint_minutes,
    )
    loaded = Study.load(study, settings or ())
    loaded.resolve(budget)
    place, end = out or default_out(loaded.name, budget), until_decided(until, max_hours, max_seeds)
    raise typer.Exit(run_and_report(loaded, budget, place, execution, end))


app.command("status")(study_status.show_status)
app.command("power")(study_power.show_power)


@app.command("report")
def write_report(
    folder: Recorded,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The folder to write; by default report in the study's, or NAME-report beside a file."
        ),
    ] = None,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Report cells as they were run before code or data changed.")
    ] = False,
    plugin: Plugin = None,
) -> None:
    """Write the report of a study from its record, and print its table."""
    from lrlora.studies.cli.running import show_report

    load_plugins(plugin)
    show_report(_load_ended(folder, keep_old), out)


@app.command("export")
def export_report(
    folder: Recorded,
    format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="latex, csv, json, md or html; by default latex.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write; by default the terminal.")
    ] = None,
    records: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the records of the cells instead, as one file.")
    ] = None,
    plugin: Plugin = None,
) -> None:
    """Write the report in one format: LaTeX tables, CSV, JSON, Markdown or HTML. Every row names its MLflow runs.

    With --records write the records of all cells as one file, with the results of every test example and without
    weights. lrlora study run --reuse takes cells from it on any machine, and report, export, compare and claims read
    it in place of a folder.
    """
    from lrlora.studies.errors import StudyError, unknown_key
    from lrlora.studies.report.writing import FORMATS, report_text

    if records is not None:
        if format is not None or out is not None:
            raise StudyError("--records: writes records and no report; leave out --format and --out")
        load_plugins(plugin)
        say(export_records(folder, records))
        return
    format = format or "latex"
    if format not in FORMATS:
        raise StudyError(str(unknown_key(format, FORMATS, "--format")).replace("unknown key", "unknown format", 1))
    load_plugins(plugin)
    _write(report_text(_load_ended(folder), format), out)


@app.command("compare")
def compare_two(
    first: Recorded,
    second: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="The other study.")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write an HTML page.")] = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Compare two studies: designs, metrics, differences on shared seeds, and verdicts."""
    from rich.console import Console

    from lrlora.studies.report.comparison_report import comparison_json, comparison_page
    from lrlora.studies.report.study_comparison import compare_studies
    from lrlora.studies.report.terminal import print_comparison

    load_plugins(plugin)
    found = compare_studies(_load_ended(first), _load_ended(second))
    if html is not None:
        _write(comparison_page(found), html)
    if as_json:
        print(comparison_json(found), end="")
    else:
        print_comparison(found, Console())


@app.command("claims")
def list_claims(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR|FILE...", help="The folders of studies, or files of their records.")
    ],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table, with the commands.")] = False,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """List the published claims that studies tested: the published value, ours with its interval, and the verdict."""
    from lrlora.studies.report import claim_list

    load_plugins(plugin)
    rows = claim_list.tested_claims(folders)
    if as_json:
        print(json.dumps(rows, indent=1))
    elif markdown:
        print(claim_list.markdown(rows), end="")
    else:
        _table(claim_list.COLUMNS, [claim_list.cells(row) for row in rows])
        say(claim_list.tally(rows))


@app.command("schema")
def show_schema() -> None:
    """Print the JSON schema of study files, for editors that use one to complete YAML."""
    from lrlora.studies.spec.json_schema import study_schema

    print(json.dumps(study_schema(), indent=1))


def _load_ended(folder: Path, keep_old: bool = False) -> Results:
    """The record of a study that has at least one cell."""
    from lrlora.studies.errors import StudyError
    from lrlora.studies.record.results import Results

    results = Results.load(folder, keep_old=keep_old)
    if not results.records:
        raise StudyError(f"{folder}: no cell has finished yet; continue with: lrlora study run")
    return results


def _write(text: str, out: Path | None) -> None:
    """Write a text to a file, or on the screen."""
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)


def _records(folder: Path) -> dict[str, dict[str, Any]]:
    """What is recorded in a folder, by cell; nothing where no study was run there."""
    from lrlora.studies.record.results import is_recorded, read_records, read_study_file

    saved = read_study_file(folder)
    if saved is None or not is_recorded(folder):
        return {}
    return read_records(folder, saved["study"]["name"])


def _print_plan(plan: dict[str, Any]) -> None:
    places = len(plan["tasks"]) * len(plan["backbones"]) > 1
    rows = []
    for cell in plan["cells"]:
        place = (cell["task"], cell["backbone"]) if places else ()
        steps = str(cell["training"]["steps"])
        own = (cell["id"],) if plan["cells"][0]["id"] else ()
        rows.append((*own, cell["variant"], *place, str(cell["seed"]), steps, "done" if cell["done"] else ""))
    head = ("cell",) if plan["cells"][0]["id"] else ()
    _table((*head, "variant", *(("task", "backbone") if places else ()), "seed", "steps", ""), rows)
    say("")
    _table(
        ("variant", *(f"parameters in {backbone}" for backbone in plan["backbones"]), f"to {plan['reference']}"),
        [
            (one["name"], *(f"{count:,}" for count in one["parameters"].values()), _share(one["relative_to_reference"]))
            for one in plan["variants"]
        ],
    )
    say("")
    say(f"{plan['study']} at budget {plan['budget']}: {plan['question']}")
    say(f"task {', '.join(plan['tasks'])}, backbone {', '.join(plan['backbones'])}, compared with {plan['reference']}")
    if plan["claims"]:
        say(f"tests {len(plan['claims'])} claim{'s' * (len(plan['claims']) != 1)}: {'; '.join(plan['claims'])}")
    for line in plan["changed"]:
        say(line)
    if plan["tuning"] is not None:
        say(plan["tuning"]["budget"])
        say(f"to tune: {_cost(plan['tuning']['estimated'], plan['tuning']['planned'])}")
    say(f"to run: {_cost(plan['estimated'], len(rows))}; {plan['resources']['says']}")


def _cost(cost: dict[str, Any], planned: int) -> str:
    time = "" if cost["seconds"] is None else f", about {study_status.duration(cost['seconds'])} of computation"
    return f"{cost['cells']} of {planned} cells, {cost['steps']} steps{time}"


def _share(relative: float | None) -> str:
    if relative is None:
        return ""
    return "the same" if relative == 0 else f"{100 * relative:+.2f} %"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    Console().print(table)

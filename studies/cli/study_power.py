"""``lrlora study power``: how many seeds and test examples the claims of a study need, and what that costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrlora.studies.cli.options import Plugin, Set, load_plugins
from lrlora.studies.cli.output import say, write_text
from lrlora.studies.cli.running import Workers, worker_count

if TYPE_CHECKING:
    from lrlora.studies.record.results import Results
    from lrlora.studies.spec.study import Study
    from lrlora.studies.stats.claim_power import ClaimPower

_LISTED_SEEDS = 50
"""A command with more seeds than that is not printed."""


def show_power(
    study: Annotated[str, typer.Argument(metavar="NAME|DIR", help="A study, or the folder of one that was run.")],
    budget: Annotated[str, typer.Option(help="One of the study's budgets; of a folder, its own.")] = "quick",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of the record; by default runs/NAME-BUDGET.")
    ] = None,
    pilot: Annotated[int, typer.Option("--pilot", "--seeds", metavar="N", help="Seeds of the pilot.", min=2)] = 2,
    run: Annotated[bool, typer.Option("--run", help="Run the pilot if there is none.")] = False,
    workers: Workers = "auto",
    settings: Set = None,
    plugin: Plugin = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the numbers to a file.")
    ] = None,
) -> None:
    """Show how many seeds and test examples each claim needs for 80 % power, and how long that takes here.

    The spread is that of the runs in the study's folder, of at least two seeds: a pilot.
    """
    load_plugins(plugin)
    results = _recorded(study, budget, out, pilot, run, workers, settings or [])
    lines, found = _describe(results)
    for line in lines:
        say(line)
    if json_file is not None:
        write_text(json_file, json.dumps(found, indent=1) + "\n")


def _recorded(
    study: str, budget: str, out: Path | None, pilot: int, run: bool, workers: str, settings: Sequence[str]
) -> Results:
    """The record of a study with at least two seeds; the pilot is run if that is wanted.

    Raises:
        StudyError: There is no such record; with the command that makes it.
    """
    from lrlora.registry import closest
    from lrlora.studies.catalog import catalog_names
    from lrlora.studies.errors import StudyError
    from lrlora.studies.execution.checks import check_folder
    from lrlora.studies.record.results import STUDY_FILE, Results
    from lrlora.studies.spec.claims import claims_about
    from lrlora.studies.spec.study import Study, default_out

    folder = Path(study)
    if (folder / STUDY_FILE).is_file() or (folder.is_dir() and study not in catalog_names()):
        if out is not None or settings or run:
            option = "--out" if out is not None else "--set" if settings else "--run"
            raise StudyError(f"{study}: is the folder of a study; {option} needs the study's name or file")
        results = Results.load(folder)
        if _seeds(results) < 2:
            raise StudyError(_no_pilot(results.study, results.given_as, results.budget, folder, pilot, results))
        return results
    if "/" in study and not folder.suffix and not folder.exists():
        near = closest(folder.name, [one.parent.name for one in folder.parent.glob(f"*/{STUDY_FILE}")])
        hint = "" if near is None else f"; did you mean {folder.parent / near}?"
        raise StudyError(f"{study}: no study was run here{hint}")
    resolved = Study.load(study, settings).resolve(budget)
    folder = out or default_out(resolved.name, budget)
    if not resolved.claims:
        raise StudyError(f"study {resolved.name}: makes no claims; declare them under claims (docs/studies.md)")
    recorded = None
    if (folder / STUDY_FILE).is_file():
        if settings:
            check_folder(folder, resolved)
        recorded = Results.load(folder)
    if recorded is None or _seeds(recorded) < (pilot if run else 2):
        if not run:
            message = _no_pilot(resolved, resolved.given_as, budget, folder, pilot, recorded)
            raise StudyError(f"{message}, or give --run")
        _run_pilot(study, settings, budget, folder, _grown(resolved.seeds, pilot)[:pilot], workers)
        recorded = Results.load(folder)
        if _seeds(recorded) < 2:
            raise StudyError(f"{folder}: fewer than two seeds of the pilot finished; see: lrlora study status {folder}")
    # Claims as they are declared now, with another smallest effect of interest maybe.
    names = {record["variant"] for record in recorded.records}
    claims = claims_about(resolved.claims, names, resolved.reference)
    recorded.study = recorded.study.model_copy(update={"claims": claims})
    return recorded


def _run_pilot(study: str, settings: Sequence[str], budget: str, folder: Path, seeds: list[int], workers: str) -> None:
    from rich.console import Console

    from lrlora.studies.execution.resources import Execution
    from lrlora.studies.spec.overrides import parse_overrides
    from lrlora.studies.spec.study import Study

    piloted = Study.load(study, {**parse_overrides(settings), "seeds": seeds})
    piloted.run(budget, folder, Console(stderr=True), Execution(worker_count(workers)))


def _no_pilot(
    study: Study, given: dict[str, Any], budget: str, folder: Path, pilot: int, recorded: Results | None
) -> str:
    from lrlora.studies.cli.power_text import run_command
    from lrlora.studies.cli.study_status import duration
    from lrlora.studies.execution.cost import estimate_seconds
    from lrlora.studies.spec.cells import expand_cells

    seeds = _grown(study.seeds, pilot)[:pilot]
    cells = expand_cells(study.with_seeds(seeds))
    seconds = estimate_seconds(cells, study.seconds_per_example)
    cost = f"{len(cells)} cells" + ("" if seconds is None else f", about {duration(seconds)} of computation")
    what = "nothing is recorded" if recorded is None or not recorded.records else "one seed does not tell the spread"
    return f"{folder}: {what}; run a pilot ({cost}) with: {run_command(given, budget, folder, seeds)}"


def _grown(seeds: Sequence[int], number: int) -> list[int]:
    """These seeds and further ones, so many in all."""
    unused = (seed for seed in count(1) if seed not in set(seeds))
    return [*seeds, *islice(unused, max(0, number - len(seeds)))]


def _seeds(results: Results) -> int:
    """Number of seeds of which any cell has ended, other than by a failure."""
    return len({record["seed"] for record in results.records if record["status"] != "failed"})


def _describe(results: Results) -> tuple[list[str], dict[str, Any]]:
    """What is printed, and the same as plain data."""
    from lrlora.studies.cli.power_text import describe_claim, lines_of_claim
    from lrlora.studies.errors import StudyError
    from lrlora.studies.stats.claim_power import needs_of_claims
    from lrlora.studies.stats.summary import summarise

    if not results.study.claims:
        raise StudyError(f"{results.out}: the study makes no claims; declare them under claims (docs/studies.md)")
    summary = summarise(results)
    claims = needs_of_claims(results.study.claims, summary.runs, summary.reference, summary.metric)
    split = _split_size(results)
    described = [describe_claim(claim, results.records, split) for claim in claims]
    lines = [f"{results.study.name} at budget {results.budget}, {_seeds(results)} seeds; for 80 % power"]
    for claim, one in zip(claims, described, strict=True):
        lines += ["", *lines_of_claim(claim, one)]
    total = _total(results, claims, described)
    if total is not None:
        lines += ["", *_lines_of_total(results, total)]
    found = {
        "study": results.study.name,
        "budget": results.budget,
        "folder": str(results.out),
        "seeds": _seeds(results),
        "test_split": split,
        "claims": described,
        "total": total,
    }
    return lines, found


def _total(
    results: Results, claims: Sequence[ClaimPower], described: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """What it costs to reach everything that more seeds can reach; None where they reach nothing."""
    from lrlora.studies.execution.cost import seconds_per_seed

    needed, variants = 0, set[str]()
    for claim, one in zip(claims, described, strict=True):
        seeds = [need["seeds"] for need in one["needs"] if need["seeds"] and need["examples"] == one["examples"]]
        if seeds and one["unit"] == "seed":
            needed, variants = max(needed, *seeds), variants.union(claim.verdict.variants)
    if not needed:
        return None
    more = max(0, needed - _seeds(results))
    places = {(str(one["task"]), str(one["backbone"])) for one in results.records}
    return {
        "seeds": needed,
        "cells": more * len(variants) * len(places),
        "seconds": more * seconds_per_seed(results.records, variants),
    }


def _lines_of_total(results: Results, total: dict[str, Any]) -> list[str]:
    from lrlora.studies.cli.power_text import run_command
    from lrlora.studies.cli.study_status import duration

    if not total["cells"]:
        return ["all that more seeds can reach is reached with these"]
    cost = f"{total['cells']:,} more cells, {duration(total['seconds'])} of computation"
    lines = [f"all that more seeds can reach: {total['seeds']:,} seeds, {cost}"]
    if total["seeds"] <= _LISTED_SEEDS:
        seeds = _grown(results.study.seeds, total["seeds"])
        lines.append(f"to run it: {run_command(results.given_as, results.budget, results.out, seeds)}")
    return lines


def _split_size(results: Results) -> int | None:
    """Number of examples of the whole test split; None if it cannot be read here, or if the runs had all of it."""
    from lrlora.studies.tasks import make_task

    limits = {record["training"].get("test_examples") for record in results.records}
    if len(results.study.tasks) > 1 or None in limits:
        return None
    task = results.study.tasks[0]
    try:
        return len(make_task(task.name, task.options).split("test"))
    except Exception:  # whatever a task of a plugin does where its data are not there
        return None

"""``lrlora tune``: the settings of a study's variants, searched for on the validation split."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from lrlora.studies.cli.options import Json, Plugin, Set, load_plugins


def tune(
    study: Annotated[str, typer.Argument(metavar="NAME_OR_YAML", help="A built-in study, or the path of a YAML file.")],
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A variant or baseline of the study, or all. Repeatable. By default all."),
    ] = None,
    trials: Annotated[int, typer.Option(help="Trials of each variant; the first is the untuned variant.")] = 20,
    space: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YAML file with the key space; by default each method's own.")
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(help="wilcoxon, hyperband or none. By default wilcoxon where a trial has over 4 runs, else none."),
    ] = None,
    budget: Annotated[str, typer.Option(help="One of the study's: smoke (a minute), quick (minutes), full.")] = "quick",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of the record; by default runs/NAME-tune-BUDGET.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no new trial starts.")] = None,
    settings: Set = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Search for better settings of a study's variants with Optuna's TPE, each with the same budget.

    The first trial is the untuned variant. The objective is the metric on the validation split, averaged over seeds
    that are not the study's (--set tune.seeds=[7,8]); the test split is not used. The result is tuned.yaml, a study
    for lrlora study run. --set space.SETTING="{low: 1e-4, high: 1e-2, log: true}" or ="[16, 32]" declares a space
    without a file. The same command continues a search that was interrupted, and several processes may share a folder.
    """
    from rich.console import Console

    from lrlora.studies.search.declaration import declare
    from lrlora.studies.search.report import print_outcome, write_report
    from lrlora.studies.search.run import run_tune
    from lrlora.studies.search.space import read_space
    from lrlora.studies.search.tuned_file import write_tuned

    load_plugins(plugin)
    lines = settings or []
    of_space = [line for line in lines if line.partition("=")[0].strip().split(".")[0] == "space"]
    declared = read_space(space, of_space)
    overrides = [line for line in lines if line not in of_space]
    chosen = declare(study, variant or ["all"], budget, overrides, declared, trials, pruner)
    out = out or Path("runs") / f"{chosen.study.name}-tune-{budget}"
    outcome = run_tune(chosen, out, timeout, Console(stderr=True))
    if as_json:
        from lrlora.studies.search.report import report_data

        print(json.dumps(report_data(outcome), indent=1))
    if not any(one.trials for one in outcome.variants):
        raise typer.Exit(1)
    tuned = write_tuned(outcome)
    folder = write_report(outcome)
    if not as_json:
        print_outcome(outcome, Console())
        console = Console(soft_wrap=True)
        for line in (
            f"report:  {folder / 'index.html'}",
            f"record:  {out / 'mlflow.db'}, {out / 'optuna.db'}",
            f"next:    lrlora study run {shlex.quote(str(tuned))} --budget {budget}",
        ):
            console.print(line, markup=False, highlight=False)
    raise typer.Exit(1 if outcome.counts().get("failed") else 0)

"""One command that runs a study: it checks the study, holds the folder, tunes, and drives."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lrlora.studies.execution.driver import Driver, say
from lrlora.studies.execution.executor import RunCell
from lrlora.studies.execution.folder import hold
from lrlora.studies.execution.interruption import interrupted_by_termination, postponed_interruption
from lrlora.studies.execution.quiet import quiet
from lrlora.studies.execution.resources import Execution, choose_resources
from lrlora.studies.record.results import Results
from lrlora.studies.spec.cells import expand_variants, name_of_settings
from lrlora.studies.spec.study import Study

if TYPE_CHECKING:
    from lrlora.studies.execution.deciding import UntilDecided


def run_study(
    study: Study,
    budget: str,
    out: Path,
    console: Console | None = None,
    execution: Execution | None = None,
    run_cell: RunCell | None = None,
    until: UntilDecided | None = None,
) -> Results:
    """Run the missing cells of a study.

    Args:
        study: As declared.
        budget: One of its budgets.
        out: The study's folder; what it holds already is not run again.
        console: Where progress is shown; by default the terminal's standard error.
        execution: How many workers, and where.
        run_cell: Trains a cell in place of :func:`lrlora.studies.training.loop.run_cell`, and then neither data nor
            backbones are looked at.
        until: Add seeds until the claims are decided; None: run the seeds that are declared.

    Raises:
        ValueError, ImportError: The study cannot be run as it is written; nothing has been written.
        KeyboardInterrupt: It was interrupted, or sent SIGTERM; the running cells have been given back.
    """
    console, execution = console or Console(stderr=True), execution or Execution()
    resolved = study.resolve(budget)
    with interrupted_by_termination(), quiet(), hold(out, resolved, budget):
        say(console, f"{study.name} at budget {budget} goes into {out}: checking the design")
        if execution.executor == "local":
            from lrlora.studies.execution.local import warm_up

            warm_up()
        with postponed_interruption():  # an exception amid the initialization of its C++ part would abort the process
            importlib.import_module("torch")
        from lrlora.studies.execution.checks import check_design, check_folder, check_inputs, with_tuned

        resolved = with_tuned(resolved, out)
        check_design(resolved)
        if until is not None:
            until.check(resolved)
        choose_resources(execution, resolved, cells=1)
        resolved = check_folder(out, resolved)
        if run_cell is None:
            check_inputs(resolved, lambda line: say(console, line))
        missing = [variant.name for variant in expand_variants(resolved) if variant.name not in resolved.tuned]
        if resolved.tune is not None and missing:
            resolved = _tune(resolved, budget, out, console, execution, run_cell)
        return Driver(resolved, budget, out, console, execution, run_cell, until).go()


def _tune(
    study: Study, budget: str, out: Path, console: Console, execution: Execution, run_cell: RunCell | None
) -> Study:
    """Run the tuning stage; the study with what it chose. What was chosen before stays."""
    from lrlora.studies.execution.checks import check_folder
    from lrlora.studies.execution.tuning import FOLDER, choose, tuning_study
    from lrlora.studies.spec.tuning import describe_budget

    stage, folder = tuning_study(study, budget), out / FOLDER
    say(console, describe_budget(study))
    with hold(folder, stage, budget):
        check_folder(folder, stage)
        results = Driver(stage, budget, folder, console, execution, run_cell).go()
    results.report()
    tuned = choose(study, results.records) | study.tuned
    for name, settings in tuned.items():
        say(console, f"tuned: {name}: {name_of_settings(settings)}")
    return study.model_copy(update={"tuned": tuned})

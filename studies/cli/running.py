"""What the commands that run something do at their end."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from lrlora.studies.record.results import Results
    from lrlora.studies.spec.study import Study


def run_and_report(study: Study, budget: str, out: Path) -> int:
    """Run a study, write its report, and say where everything is.

    Returns:
        The exit status: 0, or 1 if a cell failed.
    """
    results = study.run(budget, out, Console(stderr=True))
    if results.records:
        show_report(results)
    failed = [record for record in results.records if record["status"] == "failed"]
    for record in failed:
        reason = str(record["reason"]).strip().splitlines()[-1]
        _say(f"failed: {record['variant']} seed {record['seed']}: {reason}", Console(stderr=True, soft_wrap=True))
    return 1 if failed else 0


def show_report(results: Results) -> None:
    """Write the report, show its table, and say where everything is and how to open it."""
    console = Console()
    folder = results.report()
    results.print_summary(console)
    _say("", console)
    _say(f"report:  {folder / 'index.html'}", console)
    _say(f"record:  {results.out / 'mlflow.db'}, {results.out / 'optuna.db'}", console)
    _say(f"browse:  lrlora ui {shlex.quote(str(results.out))}", console)


def _say(line: str, console: Console) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)

"""Runs what is missing of a study: claim a cell, train it, record it, and the next; safe to interrupt and to share.

The order of writing carries the guarantees. A cell's MLflow run is finished before Optuna is told, and what counts as
done is what MLflow says. Whoever runs a cell holds its lock, which the operating system frees when that process dies.
"""

from __future__ import annotations

import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.console import Console

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.checks import check_design, check_folder, check_inputs, with_tuned
from lrlora.studies.execution.interruption import postponed_interruption
from lrlora.studies.execution.progress import StudyProgress
from lrlora.studies.execution.queue import CellQueue, Claim
from lrlora.studies.execution.quiet import quiet
from lrlora.studies.execution.tuning import FOLDER, choose, tuning_study
from lrlora.studies.record.environment import describe_environment
from lrlora.studies.record.outcomes import FINAL, outcome_of_record
from lrlora.studies.record.results import Results, read_records, write_study_file
from lrlora.studies.record.tracking import Tracker, outcome_of
from lrlora.studies.record.versions import describe_earlier
from lrlora.studies.spec.cells import expand_cells, expand_variants, name_of_settings
from lrlora.studies.spec.study import Study
from lrlora.studies.spec.tuning_budget import describe_budget

_ATTEMPTS = 2
"""How often one command tries a cell that ends in an unexpected error."""


def run_study(study: Study, budget: str, out: Path, console: Console | None = None) -> Results:
    """Run the missing cells of a study.

    Args:
        study: As declared.
        budget: One of its budgets.
        out: The study's folder; what it holds already is not run again.
        console: Where progress is shown; by default the terminal's standard error.

    Raises:
        ValueError, ImportError: The study cannot be run as it is written; nothing has been written.
        KeyboardInterrupt: It was interrupted; the running cell has been given back.
    """
    console = console or Console(stderr=True)
    resolved = with_tuned(study.resolve(budget), out)
    check_design(resolved)
    resolved = check_folder(out, resolved)
    check_inputs(resolved, lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))
    missing = [variant.name for variant in expand_variants(resolved) if variant.name not in resolved.tuned]
    if resolved.tune is not None and missing:
        resolved = _tune(resolved, budget, out, console)
    return _Run(resolved, budget, out, console).go()


def _tune(study: Study, budget: str, out: Path, console: Console) -> Study:
    """Run the tuning stage; the study with what it chose. What was chosen before stays."""
    stage = tuning_study(study, budget)
    console.print(describe_budget(study), markup=False, highlight=False, soft_wrap=True)
    check_folder(out / FOLDER, stage)
    results = _Run(stage, budget, out / FOLDER, console).go()
    if not results.complete:
        raise StudyError(f"{out / FOLDER}: the tuning stage is being run by another process; run this again after it")
    results.report()
    tuned = choose(study, results.records) | study.tuned
    for name, settings in tuned.items():
        console.print(f"tuned: {name}: {name_of_settings(settings)}", markup=False, highlight=False, soft_wrap=True)
    return study.model_copy(update={"tuned": tuned})


class _Run:
    """One command's share of a study."""

    def __init__(self, study: Study, budget: str, out: Path, console: Console) -> None:
        self.study, self.out, self.console = study, out, console
        self.cells = expand_cells(study)
        self.environment = describe_environment()
        self.attempts: Counter[str] = Counter()
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"--out {out}: cannot be made: {error.strerror}") from None
        # MLflow and Optuna each make their tables on first use, and two processes at it break both.
        with FileLock(out / ".setup.lock"):
            self.tracker = Tracker.open(out, study.name, study.question)
            self.tracker.check_place()
            write_study_file(out, study, budget, self.environment, self.cells)
            for line in describe_earlier(self.cells, read_records(out, study.name)):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            self.queue = CellQueue(out, study.name, study.metric.direction, self.cells)
            self.done = self._recorded()
            self.queue.reconcile(self.done)

    def go(self) -> Results:
        """Run until no cell waits."""
        missing = [cell for cell in self.cells if cell.id not in self.done]
        steps = sum(cell.variant.training.steps for cell in missing)
        if missing and self.done:
            self.console.print(f"{len(self.done)} of {len(self.cells)} cells are done; going on with the others")
        with quiet(), StudyProgress(self.console, steps, len(self.cells), len(self.done)) as progress:
            while (claim := self.queue.claim()) is not None:
                self._run(claim, progress)
        results = Results.load(self.out)
        ended = {record["cell"]: record["status"] for record in results.records}
        elsewhere = [cell for cell in self.cells if cell.id not in ended and self.queue.is_running(cell.id)]
        if elsewhere:
            self.console.print(f"{len(elsewhere)} cells are being run by another process on {self.out}")
        counts = Counter(ended.values())
        summary = {f"cells/{status}": float(counts[status]) for status in ("finished", "diverged", "failed")}
        self.tracker.finish_study(summary | {"cells/planned": float(len(self.cells))}, results.complete)
        return results

    def _run(self, claim: Claim, progress: StudyProgress) -> None:
        from lrlora.studies.training.loop import blank_record, run_cell

        cell = claim.cell
        self.attempts[cell.id] += 1
        run, recorded = None, False
        progress.begin(cell)
        try:
            run = self.tracker.start_cell(cell, self.environment)
            log = run.log_step

            def listen(step: int, figures: Any) -> None:
                log(step, figures)
                progress.step(cell, step, figures)

            with tempfile.TemporaryDirectory(prefix="lrlora-") as folder:
                files = Path(folder)
                try:
                    record = run_cell(cell, files, listen)
                except Exception:  # whatever a method or a task does wrong: one cell's failure is not the study's
                    record = blank_record(cell) | {"status": "failed", "reason": traceback.format_exc()}
                record["mlflow_run_id"] = run.run_id
                outcome = outcome_of_record(record)
                with postponed_interruption():
                    run.finish(record, outcome, files)
                    value = record["metrics"].get(self.study.metric.name)
                    claim.complete(value, outcome)
                    recorded = True
        except KeyboardInterrupt:
            if not recorded:
                with postponed_interruption():
                    if run is not None:
                        run.kill()
                    claim.abandon("interrupted")
            raise
        final = outcome in FINAL or self.attempts[cell.id] >= _ATTEMPTS
        if not final:
            self.queue.enqueue(cell)
        progress.end(cell, record, final)

    def _recorded(self) -> dict[str, float | None]:
        """The metric of every cell that is done; and the runs of processes that died are closed."""
        wanted = {cell.id for cell in self.cells}
        values: dict[str, float | None] = {}
        for cell, run in self.tracker.cell_runs().items():
            record = self.tracker.read_result(run) if outcome_of(run) in FINAL else None
            if record is not None and cell in wanted:
                values[cell] = record["metrics"].get(self.study.metric.name)
            elif run.info.status == "RUNNING" and not self.queue.is_running(cell):
                self.tracker.close_stale(run)
        return values

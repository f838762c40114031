"""Runs that are added until the claims of a study are decided: which is next, and when to stop."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.cost import estimate_seconds
from lrlora.studies.execution.executor import Record
from lrlora.studies.execution.resources import Execution
from lrlora.studies.record.sequential import Sequential
from lrlora.studies.sampling import ClaimSampler, Run, runs_to_go, seed_order
from lrlora.studies.spec.cells import Cell, expand_cells, expand_variants
from lrlora.studies.spec.claims import claims_about
from lrlora.studies.spec.study import Study
from lrlora.studies.stats.runs import runs_frame
from lrlora.studies.stats.sequential import LOOKS, MOST_SEEDS

if TYPE_CHECKING:
    from lrlora.studies.record.tracking import Tracker


@dataclass(frozen=True)
class UntilDecided:
    """When a study ends that goes on until its claims are decided.

    Attributes:
        max_hours: Time that the study is run, by all commands together, after which no cell is begun.
        max_seeds: Seeds that a variant may have.
    """

    max_hours: float | None = None
    max_seeds: int = MOST_SEEDS

    def __post_init__(self) -> None:
        if self.max_hours is not None and not self.max_hours > 0:
            raise StudyError(f"--max-hours {self.max_hours:g}: a number of hours above 0")
        if not min(LOOKS) <= self.max_seeds <= MOST_SEEDS:
            raise StudyError(f"--max-seeds {self.max_seeds}: a number from {min(LOOKS)} to {MOST_SEEDS}")

    def check(self, study: Study) -> None:
        """See that a study has claims.

        Raises:
            StudyError: It has none.
        """
        names = (variant.name for variant in expand_variants(study))
        if not claims_about(study.claims, names, study.reference):
            raise StudyError(f"study {study.name}: --until decided: it makes no claims; give it claims")


class Deciding:
    """Chooses the cells of a study that goes on until its claims are decided.

    Args:
        study: Resolved and checked.
        until: When it ends.
        out: Its folder, where ``sequential.json`` is kept.
        execution: How cells are run.
        tracker: Reads the results of test examples.
    """

    def __init__(self, study: Study, until: UntilDecided, out: Path, execution: Execution, tracker: Tracker) -> None:
        self._study, self._until, self._out, self._tracker = study, until, out, tracker
        seeds = seed_order(study.seeds, until.max_seeds, study.tune.seeds if study.tune is not None else ())
        self.cells = expand_cells(
            study.model_copy(update={"seeds": seeds}), execution.threads_per_cell, execution.device
        )
        self._cells_of: dict[Run, list[Cell]] = {}
        for cell in self.cells:
            self._cells_of.setdefault((cell.variant.name, cell.seed), []).append(cell)
        names = list(dict.fromkeys(cell.variant.name for cell in self.cells))
        claims = claims_about(study.claims, names, study.reference)
        places = len(study.tasks) * len(study.backbones)
        self._measures = dict.fromkeys([study.metric.name, *(claim.metric for claim in claims if claim.metric)])
        self._records: dict[str, Record] = {}
        self._examples: dict[str, dict[str, Any]] = {}
        self._frame: pd.DataFrame | None = None
        self._asked: set[Run] = set()
        self.sampler = ClaimSampler(
            claims,
            names,
            seeds,
            reference=study.reference,
            most_seeds=until.max_seeds,
            metric=study.metric.name,
            cost=self._seconds,
            runs=self._runs,
            places=places,
        )
        before = Sequential.read(out)
        self._began, self._before = time.monotonic(), 0.0 if before is None else before.seconds
        self._state = Sequential(seeds, until.max_seeds, names, places)
        self.write()

    @property
    def seconds(self) -> float:
        """For how long the study has been run, by all commands together."""
        return self._before + time.monotonic() - self._began

    @property
    def out_of_time(self) -> bool:
        """Whether no cell is begun any more."""
        return self._until.max_hours is not None and self.seconds >= 3600 * self._until.max_hours

    def add(self, cell: Cell, record: Record) -> None:
        """A cell has ended, for good."""
        self._records[cell.id] = dict(record) | {"variant": cell.variant.name}
        self._examples |= self._tracker.read_examples([record])
        self._frame = None

    def next_cells(self, study: optuna.Study) -> list[Cell]:
        """Returns the cells of the run that is next, one for each task and backbone; empty if there is none.

        Args:
            study: Optuna's.
        """
        run = None if self.out_of_time else self.sampler.next_run(study, self._asked)
        if run is None:
            return []
        self._asked.add(run)
        return [cell for cell in self._cells_of[run] if cell.id not in self._records]

    def so_far(self) -> tuple[Study, list[Cell]]:
        """Returns the study with the seeds that have been used, and its cells."""
        order = self.sampler.seeds
        used = {cell.seed for cell in self.cells if cell.id in self._records} | {seed for _, seed in self._asked}
        # All up to the last one, so that their order is the same when the study goes on.
        seeds = order[: max([len(self._study.seeds), *(order.index(seed) + 1 for seed in used)])]
        cells = [cell for cell in self.cells if cell.seed in seeds]
        return self._study.model_copy(update={"seeds": seeds}), cells

    def write(self, ended: str = "") -> None:
        """Write ``sequential.json``."""
        self._state = dataclasses.replace(self._state, seconds=self.seconds, ended=ended)
        self._state.write(self._out)

    def conclude(self, study: optuna.Study) -> str:
        """Returns why nothing more is run and what the rest would cost, in a sentence, which is kept.

        Args:
            study: Optuna's.
        """
        paths = self.sampler.follow(study)
        states = Counter[str](path.state for path in paths)
        said = f"{states['settled']} of {len(paths)} claims are settled"
        for state, words in (
            ("futile", "could hardly be settled by more seeds"),
            ("undecided", f"are not settled by {self._until.max_seeds} seeds"),
            ("open", "are open"),
        ):
            said += f", {states[state]} {words}" if states[state] else ""
        if states["open"]:
            ended = self.sampler.ended(study)
            costs = [self._cost(runs_to_go(paths, *self._design, ended, look)) for look in (0, -1)]
            why = f"the time is up after {self._until.max_hours:g} h" if self.out_of_time else "cells are missing"
            said = f"{why}: {said}; their next looks need {costs[0]}, all of them {costs[1]}"
        self.write(said)
        return said

    @property
    def _design(self) -> tuple[list[str], str | None, list[int]]:
        return self.sampler.variants, self.sampler.reference, self.sampler.seeds

    def _cost(self, runs: list[Run]) -> str:
        cells = sum(len(self._cells_of[run]) for run in runs)
        seconds = sum(self._seconds(name) for name, _ in runs)
        known = any(record["status"] == "finished" for record in self._records.values())
        return f"{cells} cells" + (f", about {seconds / 3600:.1f} h of computation" if known else "")

    def _runs(self) -> pd.DataFrame:
        if self._frame is None:
            self._frame = runs_frame(list(self._records.values()), list(self._measures), self._examples)
        return self._frame

    def _seconds(self, variant: str) -> float:
        """Of a run of a variant, on all tasks and backbones: what its cells took, or those of all variants."""
        finished = [one for one in self._records.values() if one["status"] == "finished"]
        took = [float(one["duration_seconds"]) for one in finished if one["variant"] == variant]
        took = took or [float(one["duration_seconds"]) for one in finished]
        if took:
            return max(median(took), 1e-3) * self._state.places
        cells = self._cells_of[variant, self.sampler.seeds[0]]
        return estimate_seconds(cells, self._study.seconds_per_example) or 1.0

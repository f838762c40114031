"""Optuna's part: the queue of a study's cells, each of which is handed out once.

The design is expanded before anything runs, and every cell is enqueued as a trial with fixed parameters, known by the
cell's id. Optuna's samplers never choose anything: grid and brute-force samplers were seen to run cells twice, or to
lose one, when several workers share them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
import sqlalchemy
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, Trial, TrialState

from lrlora.studies.record.addresses import sqlite_address
from lrlora.studies.record.outcomes import FINAL
from lrlora.studies.spec.cells import Cell

CELL, OUTCOME = "cell", "outcome"
_RECORDED = "recorded before"
_WAIT_SECONDS = 60


def open_storage(out: Path) -> optuna.storages.RDBStorage:
    """The study's Optuna store, safe for several processes.

    SQLite ignores the row locks with which Optuna hands out trials, so that two workers were given the same one in
    up to 13 of 100 cases. Transactions that take the write lock at their beginning leave no such gap.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(
        sqlite_address(out.resolve() / "optuna.db"), engine_kwargs={"connect_args": {"timeout": _WAIT_SECONDS}}
    )

    @sqlalchemy.event.listens_for(storage.engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where sqlite3 thinks
        connection.execute("PRAGMA journal_mode=WAL")

    @sqlalchemy.event.listens_for(storage.engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()  # connections that were opened before the listeners stood
    return storage


@dataclass
class Claim:
    """A cell that this process runs: its trial, and the lock that says so to others for as long as we live."""

    cell: Cell
    trial: Trial
    lock: FileLock

    def complete(self, value: float | None, outcome: str) -> None:
        """Tell Optuna how it ended; a value that is missing makes the trial a failed one, as Optuna knows no other."""
        self.trial.set_user_attr(OUTCOME, outcome)
        if value is None:
            self.trial.study.tell(self.trial, state=TrialState.FAIL)
        else:
            self.trial.study.tell(self.trial, value)
        self.lock.release()

    def abandon(self, outcome: str) -> None:
        """Give the cell back: the next command runs it again."""
        self.complete(None, outcome)


class CellQueue:
    """The cells of one study in one folder.

    Args:
        out: The study's folder.
        name: The study's name.
        direction: ``"maximize"`` or ``"minimize"``.
        cells: All cells of the design.
    """

    def __init__(self, out: Path, name: str, direction: Literal["maximize", "minimize"], cells: Sequence[Cell]) -> None:
        self.cells = {cell.id: cell for cell in cells}
        self._space = _search_space(cells)
        self._locks = out / "locks"
        self._locks.mkdir(exist_ok=True)
        self._claims = FileLock(self._locks / "claims.lock")
        self.study = optuna.create_study(
            storage=open_storage(out),
            study_name=_study_name(name, self._space),
            direction=direction,
            sampler=optuna.samplers.RandomSampler(seed=0),  # never asked: all parameters of all trials are fixed
            load_if_exists=True,
        )

    def reconcile(self, values: dict[str, float | None]) -> None:
        """Bring the queue in line with what is recorded.

        Trials whose process died are failed, or completed if their result was recorded before it died; every cell
        without a result gets exactly one waiting trial.

        Args:
            values: For each cell that is done, its metric (None if it diverged).
        """
        with self._claims:
            busy: set[str] = set()
            told: set[str] = set()
            for trial in self.study.get_trials(deepcopy=False):
                cell = trial.user_attrs.get(CELL)
                if trial.state == TrialState.RUNNING and cell is not None and not self._is_free(cell):
                    busy.add(cell)
                elif trial.state == TrialState.RUNNING:
                    self._end(trial, values.get(cell or ""), cell in values)
                    told |= {cell} if cell in values else set()
                elif trial.state == TrialState.WAITING:
                    if cell in values or cell in busy or cell not in self.cells:
                        self._end(trial, None, False)
                    else:
                        busy.add(cell)
                elif cell in values and trial.user_attrs.get(OUTCOME) in (*FINAL, _RECORDED):
                    told.add(cell)
            for cell in self.cells.values():
                if cell.id in values and cell.id not in told:
                    self._add_finished(cell, values[cell.id])
                elif cell.id not in values and cell.id not in busy:
                    self.enqueue(cell)

    def enqueue(self, cell: Cell) -> None:
        """Put a cell into the queue."""
        self.study.enqueue_trial(_parameters(cell, self._space), user_attrs={CELL: cell.id})

    def claim(self) -> Claim | None:
        """Take the next waiting cell, or None if none waits."""
        # Under one lock from the look to the claim, as ask() would make up a trial of its own if none waited.
        with self._claims:
            while self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                trial = self.study.ask()
                cell = self.cells.get(trial.user_attrs.get(CELL, ""))
                lock = self._try_lock(cell.id) if cell is not None else None
                if cell is None or lock is None:
                    self.study.tell(trial, state=TrialState.FAIL)
                    continue
                self._suggest(trial, cell)
                return Claim(cell, trial, lock)
        return None

    def is_running(self, cell: str) -> bool:
        """Whether some process runs a cell at this moment."""
        return not self._is_free(cell)

    def _suggest(self, trial: Trial, cell: Cell) -> None:
        # Reading the fixed values back is what writes them into the trial, for the dashboard.
        for name in _parameters(cell, self._space):
            distribution = self._space[name]
            if isinstance(distribution, optuna.distributions.CategoricalDistribution):
                trial.suggest_categorical(name, distribution.choices)
            else:
                trial.suggest_int(name, distribution.low, distribution.high)

    def _add_finished(self, cell: Cell, value: float | None) -> None:
        parameters = _parameters(cell, self._space)
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.FAIL if value is None else TrialState.COMPLETE,
                params=parameters,
                distributions={name: self._space[name] for name in parameters},
                value=value,
                user_attrs={CELL: cell.id, OUTCOME: _RECORDED},
            )
        )

    def _end(self, trial: FrozenTrial, value: float | None, recorded: bool) -> None:
        storage, number = self.study._storage, trial._trial_id
        storage.set_trial_user_attr(number, OUTCOME, _RECORDED if recorded else "process died")
        if recorded and value is not None:
            storage.set_trial_state_values(number, TrialState.COMPLETE, [value])
        else:
            storage.set_trial_state_values(number, TrialState.FAIL)

    def _is_free(self, cell: str) -> bool:
        lock = self._try_lock(cell)
        if lock is None:
            return False
        lock.release()
        return True

    def _try_lock(self, cell: str) -> FileLock | None:
        lock = FileLock(self._locks / f"{cell}.lock", is_singleton=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        return lock


def _search_space(cells: Iterable[Cell]) -> dict[str, Any]:
    """Variant, axes and seed as Optuna's distributions, so that its dashboard can plot against them."""
    choices: dict[str, dict[str, None]] = {"variant": {}}
    for cell in cells:
        choices["variant"][cell.variant.name] = None
        for axis, value in cell.variant.axes.items():
            choices.setdefault(axis, {})[_plain(value)] = None
    space: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution(list(values)) for name, values in choices.items()
    }
    # A range and not a list: more seeds may be added to a study later, while a list is fixed for ever.
    space["seed"] = optuna.distributions.IntDistribution(0, 2**32 - 1)
    return space


def _parameters(cell: Cell, space: dict[str, Any]) -> dict[str, Any]:
    own = {"variant": cell.variant.name, "seed": cell.seed}
    return own | {axis: _plain(value) for axis, value in cell.variant.axes.items() if axis in space}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int, float, bool)) else json.dumps(value, sort_keys=True)


def _study_name(name: str, space: dict[str, Any]) -> str:
    """One Optuna study per list of variants, since Optuna fixes the choices of a categorical parameter for ever."""
    import hashlib

    choices = {key: list(found.choices) for key, found in space.items() if hasattr(found, "choices")}
    digest = hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:6]
    return f"{name}-{digest}"

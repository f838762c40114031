"""Optuna's part: every cell that is run is a trial with fixed parameters, known by the cell's id.

The design is expanded before anything runs, and the driver is the only process that writes here. The sampler is asked
only by studies that go on until their claims are decided, see :mod:`lrlora.studies.execution.deciding`; in others all
cells wait from the beginning. They wait in memory: Optuna reads all waiting trials each time that it is asked for one.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.patient_storage import patient_storage
from lrlora.studies.record.addresses import check_address, is_served, masked, sqlite_address
from lrlora.studies.spec.cells import Cell

CELL, OUTCOME = "cell", "outcome"
RECORDED = "recorded before"
"""Outcome of a trial whose cell was recorded while no trial of it ran, or by a driver that died before it said so."""


def open_storage(out: Path, url: str | None = None) -> optuna.storages.BaseStorage:
    """Returns the study's Optuna store.

    Args:
        out: The study's folder, which holds ``optuna.db`` by default.
        url: An SQLAlchemy URL, for a store elsewhere.

    Raises:
        StudyError: It cannot be opened; one line.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is not None:
        check_address("--storage", url)
    try:
        if url is not None and is_served(url):
            return patient_storage(url)
        if url is None:
            make_store(out.resolve() / "optuna.db")
        return optuna.storages.RDBStorage(url or sqlite_address(out.resolve() / "optuna.db"))
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own
        where = f"--storage {masked(url)}" if url else str(out / "optuna.db")
        reason = masked(" ".join(str(error).split("\n", 1)[0].split()))
        raise StudyError(f"{where}: cannot be opened: {reason}") from None


def make_store(database: Path) -> None:
    """Make an Optuna store in a file where there is none, whole or not at all. The caller holds its folder.

    Optuna makes its tables one by one and never completes one that is there: where a process was killed amid that, the
    index is missing that keeps the names of studies unique.
    """
    if database.exists() and database.stat().st_size > 0:
        return
    partial = database.with_name(f".{database.name}.partial")
    for left in (partial, partial.with_name(f"{partial.name}-journal")):
        left.unlink(missing_ok=True)
    storage = optuna.storages.RDBStorage(sqlite_address(partial))
    storage.engine.dispose()
    partial.replace(database)


class CellQueue:
    """The cells of one study that wait, in the order of the design.

    Args:
        storage: From :func:`open_storage`.
        name: Of the Optuna study; a list of variants is added to it.
        direction: ``"maximize"`` or ``"minimize"``.
        cells: All cells of the design.
        done: For each cell that is recorded, its metric (None if it diverged).
        sampler: Chooses the cells that are enqueued; None: all that are not recorded are, at once.
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        name: str,
        direction: Literal["maximize", "minimize"],
        cells: Sequence[Cell],
        done: Mapping[str, float | None],
        sampler: optuna.samplers.BaseSampler | None = None,
    ) -> None:
        self.cells = {cell.id: cell for cell in cells}
        self._space = _search_space(cells)
        self.study = optuna.create_study(
            storage=storage,
            study_name=_study_name(name, self._space),
            direction=direction,
            sampler=sampler or optuna.samplers.RandomSampler(seed=0),  # which is never asked
            load_if_exists=True,
        )
        self._storage, self._id = self.study._storage, self.study._study_id
        self._take_over(done)
        self._queue = deque(cell for cell in cells if cell.id not in done) if sampler is None else deque[Cell]()

    @property
    def waiting(self) -> int:
        """How many cells wait."""
        return len(self._queue)

    @property
    def cells_waiting(self) -> list[Cell]:
        """The cells that wait, in order."""
        return list(self._queue)

    def enqueue(self, cell: Cell) -> None:
        """Put a cell at the end of the queue."""
        self._queue.append(cell)

    def ask(self) -> tuple[Cell, int]:
        """Returns the next cell, and Optuna's id of its trial."""
        cell = self._queue.popleft()
        try:
            return cell, self._storage.create_new_trial(self._id, self._trial(cell, TrialState.RUNNING))
        except Exception:
            self._queue.appendleft(cell)
            raise

    def tell(self, trial: int, value: float | None, outcome: str) -> None:
        """Say how a trial ended. Without a value it is a failed one, as Optuna knows no other."""
        self._storage.set_trial_user_attr(trial, OUTCOME, outcome)
        if value is None:
            self._storage.set_trial_state_values(trial, TrialState.FAIL)
        else:
            self._storage.set_trial_state_values(trial, TrialState.COMPLETE, [value])

    def record(self, cell: Cell, value: float | None) -> None:
        """Add the trial of a cell that was recorded before: with its metric, or None if it diverged."""
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        self.study.add_trial(self._trial(cell, state, value, {OUTCOME: RECORDED}))

    def _take_over(self, done: Mapping[str, float | None]) -> None:
        """End what a dead driver left, and add what it recorded and did not tell."""
        told: set[str] = set()
        for trial in self.study.get_trials(deepcopy=False):
            cell = trial.user_attrs.get(CELL, "")
            if not trial.state.is_finished():
                recorded = trial.state == TrialState.RUNNING and cell in done and cell not in told
                value, outcome = (done[cell], RECORDED) if recorded else (None, "the driver died")
                self.tell(trial._trial_id, value, outcome)
                told |= {cell} if recorded else set()
            elif cell in done and (trial.value == done[cell] or done[cell] is None):
                told.add(cell)
        for id_, cell in self.cells.items():
            if id_ in done and id_ not in told:
                self.record(cell, done[id_])

    def _trial(
        self, cell: Cell, state: TrialState, value: float | None = None, told: Mapping[str, str] | None = None
    ) -> FrozenTrial:
        parameters = _parameters(cell, self._space)
        return optuna.trial.create_trial(
            state=state,
            params=parameters,
            distributions={name: self._space[name] for name in parameters},
            value=value,
            user_attrs={CELL: cell.id} | dict(told or {}),
        )


def store_name(study: str, out: Path | None) -> str:
    """Returns what a study is called in its store.

    Args:
        study: Its name.
        out: Its folder, if the store is shared with other folders.
    """
    return study if out is None else f"{study}-{hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:6]}"


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
    choices = {key: list(found.choices) for key, found in space.items() if hasattr(found, "choices")}
    digest = hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:6]
    return f"{name}-{digest}"

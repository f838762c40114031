"""The trials of a search: one Optuna study per variant, whose trials are retried by Optuna if their process died.

A running trial sends heartbeats. One without is failed and enqueued again by Optuna, with the settings it had; the runs
that it has recorded are not repeated. A trial keeps its index, under which it is reported, when it is retried.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any, Literal, Self

import optuna
import sqlalchemy
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState

from lrlora.studies.record.addresses import sqlite_address
from lrlora.studies.search.space import Settings, encode
from lrlora.studies.search.subject import Subject

INDEX, DEFAULT, OUTCOME = "index", "default", "outcome"
"""Attributes of a trial: its index, whether it is the untuned variant, and how it ended."""

HEARTBEAT_SECONDS, GRACE_SECONDS = 30, 120
_WAIT_SECONDS = 60


class TrialFailedError(Exception):
    """A trial has failed, and is recorded so."""


@dataclass
class TrialFacts:
    """A trial: what was tried, and what it gave so far.

    Attributes:
        number: 0 is the variant as it stands.
        settings: What was tried.
        values: The metric on the validation split, of each run.
        losses: The validation loss of each run.
        runs: MLflow run ids.
        seconds: All runs together.
        reason: Why it is not complete.
        outcome: One of :data:`lrlora.studies.search.outcome.OUTCOMES`.
    """

    number: int
    settings: Settings
    values: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    seconds: float = 0.0
    reason: str | None = None
    outcome: str = "complete"

    @property
    def value(self) -> float | None:
        """The metric, averaged over the runs; None unless the trial is complete."""
        return mean(self.values) if self.outcome == "complete" else None

    @classmethod
    def read(cls, trial: FrozenTrial) -> Self:
        """Read the facts of an ended trial from its attributes."""
        attributes = trial.user_attrs
        return cls(attributes[INDEX], *(attributes[key] for key in _FACTS))

    def write(self, trial: Trial) -> None:
        """Write the facts into the attributes of a trial; the outcome, which says that it has ended, last."""
        for key in _FACTS:
            trial.set_user_attr(key, getattr(self, key))

    def plain(self) -> dict[str, Any]:
        """The facts as plain data."""
        return asdict(self) | {"value": self.value}


_FACTS = ("settings", "values", "losses", "runs", "seconds", "reason", OUTCOME)
"""The attributes of a trial, in the order of the fields."""


def open_storage(out: Path) -> RDBStorage:
    """The search's Optuna store, safe for several processes.

    SQLite ignores the row locks with which Optuna distributes trials. Transactions that take the write lock at their
    beginning make up for it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with quiet_optuna():
        storage = RDBStorage(
            sqlite_address(out.resolve() / "optuna.db"),
            engine_kwargs={"connect_args": {"timeout": _WAIT_SECONDS}},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
        )

    @sqlalchemy.event.listens_for(storage.engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where sqlite3 thinks
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # no flush to disk for each of many small commits

    @sqlalchemy.event.listens_for(storage.engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()  # connections that were opened before the listeners
    return storage


class Trials:
    """The trials of one variant.

    Args:
        storage: The search's Optuna store.
        subject: The variant.
        direction: ``"maximize"`` or ``"minimize"``.
        pruner: Optuna's.
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        subject: Subject,
        direction: Literal["maximize", "minimize"],
        pruner: optuna.pruners.BasePruner,
    ) -> None:
        self.subject = subject
        self.study = optuna.create_study(
            storage=storage, study_name=subject.name, direction=direction, pruner=pruner, load_if_exists=True
        )
        if not self.study.get_trials(deepcopy=False):
            self.study.enqueue_trial(self._untuned(), user_attrs={DEFAULT: True, INDEX: 0})

    def run_next(self, trials: int, objective: Callable[[Trial, Settings], float]) -> bool:
        """Run the next trial to its end; False if there is none to run.

        Args:
            trials: The number of trials that the variant gets.
            objective: Takes Optuna's trial and the settings. It raises ``TrialPruned`` or :class:`TrialFailedError`
                for a trial without a value.

        Raises:
            KeyboardInterrupt: The trial is enqueued again.
        """
        with quiet_optuna():
            optuna.storages.fail_stale_trials(self.study)
            known = self.known()
            waiting = next((one for one in known if one.state == TrialState.WAITING), None)
            if waiting is None and len(known) >= trials:
                return False
            index = len(known) if waiting is None else waiting.user_attrs[INDEX]
            # Seeded by trial: a sampler that was seeded once would sample the first trials again after a resume.
            self.study.sampler = optuna.samplers.TPESampler(
                seed=zlib.crc32(self.subject.name.encode()) + index, multivariate=True, group=True, constant_liar=True
            )

            begun: list[int] = []

            def evaluate(trial: Trial) -> float:
                begun.append(trial.number)
                trial.set_user_attr(INDEX, trial.user_attrs.get(INDEX, index))
                return objective(trial, self._suggested(trial))

            try:
                self.study.optimize(evaluate, n_trials=1, catch=(TrialFailedError,))
            except BaseException:
                for number in begun:
                    RetryHeartbeatStaleTrialCallback()(self.study, self.study.get_trials()[number])
                raise
        return True

    def known(self) -> list[FrozenTrial]:
        """The trials that have been begun or enqueued, without those that were retried since."""
        trials = self.study.get_trials(deepcopy=False)
        return [one for one in trials if one.state != TrialState.FAIL or OUTCOME in one.user_attrs]

    def ended(self) -> int:
        """The number of trials that have ended."""
        return sum(one.state.is_finished() for one in self.known())

    def running(self) -> int:
        """The number of trials that other processes are running, or that were killed less than two minutes ago."""
        return sum(one.state == TrialState.RUNNING for one in self.known())

    def _untuned(self) -> Settings:
        """The settings of the untuned variant, as far as the space can express them."""
        found: Settings = {}
        for setting, dimension in self.subject.space.items():
            default = self.subject.defaults.get(setting)
            if default is not None and dimension.applies(self.subject.defaults):
                found[setting] = encode(default) if dimension.values else default
        return found

    def _suggested(self, trial: Trial) -> Settings:
        """The trial's settings, one after the other, since one may depend on those before it."""
        defaults, sampled = self.subject.defaults, dict[str, Any]()
        fixed = self._untuned() if trial.user_attrs.get(DEFAULT) else self.subject.space
        for setting, dimension in self.subject.space.items():
            if setting in fixed and dimension.applies(defaults | sampled):
                sampled[setting] = dimension.suggest(trial, setting, defaults.get(setting))
        return sampled


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's warnings of experimental features, of steps reported twice, and of values outside of a space."""
    with warnings.catch_warnings():
        for category in (optuna.exceptions.ExperimentalWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        yield

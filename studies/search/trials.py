"""The trials of a search: one Optuna study per variant, whose trials are retried by Optuna if their process died.

A running trial sends heartbeats. One without is failed and enqueued again by Optuna, with the settings it had; the runs
that it has recorded are not repeated. A trial keeps its index, under which it is reported, when it is retried.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
import sqlalchemy
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState

from lrlora.studies.record.addresses import sqlite_address
from lrlora.studies.search.space import Settings, encode
from lrlora.studies.search.subject import Subject

INDEX = "index"
"""Attribute of a trial from its beginning: the number under which it is reported. 0 is the untuned variant."""

OUTCOME, REASON, VALUES, LOSSES, RUNS = "outcome", "reason", "values", "losses", "runs"
"""Attributes of a trial that has ended: how and why, and of each run the metric and the loss on the validation split
and the MLflow run id."""

HEARTBEAT_SECONDS, GRACE_SECONDS = 30, 120
_WAIT_SECONDS = 60


class TrialFailedError(Exception):
    """A trial has failed, and is recorded so."""


def open_storage(out: Path) -> RDBStorage:
    """Returns the search's Optuna store, safe for several processes.

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
            self.study.enqueue_trial(self._untuned(), user_attrs={INDEX: 0})

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
        """Returns the trials that have been begun or enqueued, without those that were retried since."""
        trials = self.study.get_trials(deepcopy=False)
        return [one for one in trials if one.state != TrialState.FAIL or OUTCOME in one.user_attrs]

    def ended(self) -> int:
        """Returns the number of trials that have ended."""
        return sum(one.state.is_finished() for one in self.known())

    def running(self) -> int:
        """Returns the number of trials that other processes run, or that were killed less than two minutes ago."""
        return sum(one.state == TrialState.RUNNING for one in self.known())

    def _untuned(self) -> Settings:
        """Returns the settings of the untuned variant, as far as the space can express them."""
        defaults = self.subject.defaults
        return {
            setting: encode(defaults[setting]) if dimension.values else defaults[setting]
            for setting, dimension in self.subject.space.items()
            if defaults.get(setting) is not None and dimension.applies(defaults)
        }

    def _suggested(self, trial: Trial) -> Settings:
        """Returns the trial's settings, suggested one by one since one may depend on those before it."""
        defaults, sampled = self.subject.defaults, dict[str, Any]()
        fixed = self.subject.space if trial.user_attrs[INDEX] else self._untuned()
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

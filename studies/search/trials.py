"""Optuna's part of a search: one study per variant, whose trials are handed out once and taken up where they stopped.

A trial belongs to whoever holds its lock. One that is running but whose lock is free was interrupted, or its process
died; the next to ask takes it up under its own number, with the values it has. So nothing is lost and nothing repeated.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from lrlora.studies.search.space import Settings, encode
from lrlora.studies.search.subject import Subject, settings_at

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
SAMPLER_SEED = 0


class Trials:
    """The trials of one variant.

    Args:
        out: The folder of the search.
        storage: Its Optuna store.
        subject: The variant.
        direction: ``"maximize"`` or ``"minimize"``.
        pruner: What gives trials up.
    """

    def __init__(
        self,
        out: Path,
        storage: optuna.storages.BaseStorage,
        subject: Subject,
        direction: Literal["maximize", "minimize"],
        pruner: optuna.pruners.BasePruner,
    ) -> None:
        self.subject = subject
        self._locks = out / "locks"
        self._locks.mkdir(exist_ok=True)
        # Names of variants hold what file names may not.
        self._key = hashlib.sha256(subject.name.encode()).hexdigest()[:8]
        self._claims = FileLock(self._locks / f"trials-{self._key}.lock")
        with self._claims:
            self.study = optuna.create_study(
                storage=storage, study_name=subject.name, direction=direction, pruner=pruner, load_if_exists=True
            )
            if not self.study.get_trials(deepcopy=False):
                self.study.enqueue_trial(self._untuned())

    def claim(self, trials: int) -> Claim | None:
        """The next trial to run, or None if ``trials`` have been handed out and none of them waits for anyone."""
        with self._claims:
            known = self.study.get_trials(deepcopy=False)
            for frozen in known:
                lock = self._try_lock(frozen.number) if frozen.state == TrialState.RUNNING else None
                if lock is not None:
                    self._seed(frozen.number)
                    with _quiet():
                        trial = Trial(self.study, frozen._trial_id)
                        return Claim(trial, self._draw(trial), lock)
            waiting = any(frozen.state == TrialState.WAITING for frozen in known)
            if not waiting and len(known) >= trials:
                return None
            self._seed(0 if waiting else len(known))
            with _quiet():
                trial = self.study.ask()
                lock = self._try_lock(trial.number)
                assert lock is not None, "a trial that did not exist had a lock"
                return Claim(trial, self._draw(trial), lock)

    def ended(self) -> list[FrozenTrial]:
        """The trials that have ended, in order."""
        return self.study.get_trials(deepcopy=False, states=ENDED)

    def running_elsewhere(self) -> int:
        """How many trials other processes run at this moment."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def _seed(self, number: int) -> None:
        # Seeded by trial: a sampler that was seeded once would, after a resume, draw the first trials over again.
        with _quiet():
            self.study.sampler = optuna.samplers.TPESampler(
                seed=SAMPLER_SEED + 1000 * int(self._key, 16) % 2**31 + number,
                multivariate=True,
                group=True,
                constant_liar=True,
            )

    def _untuned(self) -> Settings:
        """The variant as it stands, as far as the space can say it."""
        found: Settings = {}
        known = settings_at(self.subject.default)
        for setting, dimension in self.subject.space.items():
            default = self.subject.default_of(setting)
            if default is not None and dimension.applies(known):
                found[setting] = encode(default) if dimension.values is not None else default
        return found

    def _draw(self, trial: Trial) -> Settings:
        """The trial's settings, one after the other, since one may depend on those before it."""
        known = settings_at(self.subject.default)
        drawn: Settings = {}
        fixed = self._untuned() if trial.number == 0 else None
        for setting, dimension in self.subject.space.items():
            if not dimension.applies(known | drawn) or (fixed is not None and setting not in fixed):
                continue
            default = self.subject.default_of(setting)
            value = _suggest(trial, setting, dimension.distribution(default))
            drawn[setting] = dimension.value(value, default)
        return drawn

    def _try_lock(self, number: int) -> FileLock | None:
        lock = FileLock(self._locks / f"trial-{self._key}-{number}.lock", is_singleton=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        return lock


class Claim:
    """A trial that this process runs.

    Attributes:
        trial: Optuna's.
        settings: What is tried; nothing for the first, which is the variant as it stands.
    """

    def __init__(self, trial: Trial, settings: Settings, lock: FileLock) -> None:
        self.trial, self.settings = trial, settings
        self._lock = lock

    @property
    def number(self) -> int:
        """The trial's number; 0 is the variant as it stands."""
        return self.trial.number

    def report(self, value: float, step: int) -> bool:
        """Tell how it goes; the answer is whether to give up. The variant as it stands is never given up."""
        with _quiet():
            self.trial.report(value, step)
            return self.number > 0 and self.trial.should_prune()

    def end(self, state: TrialState, value: float | None, facts: dict[str, Any]) -> None:
        """Tell Optuna how it ended, and let it go."""
        for key, fact in facts.items():
            self.trial.set_user_attr(key, fact)
        with _quiet():
            self.trial.study.tell(self.trial, value if state == TrialState.COMPLETE else None, state=state)
        self._lock.release()

    def leave(self) -> None:
        """Let it go as it is: the next command takes it up."""
        self._lock.release()


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, optuna.distributions.FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's remarks on what is experimental, on steps told twice, and on a default outside of the space."""
    with warnings.catch_warnings():
        for category in (optuna.exceptions.ExperimentalWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        yield

"""An Optuna sampler that asks for the run which most helps the open claims for its cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean
from threading import Lock
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from lrlora.studies.sampling.next_run import Run, next_run
from lrlora.studies.sampling.seeds import seed_order
from lrlora.studies.spec.claims import Claim
from lrlora.studies.stats.sequential import MOST_SEEDS, ClaimPath, follow

METRICS = "metrics"
"""Attribute of a trial for measures beside its value, by name."""

_VALUE = "value"


class ClaimSampler(optuna.samplers.BaseSampler):
    """Asks for the run of a variant at a seed which most helps the open claims for its cost.

    The parameters of a trial are ``variant`` and ``seed``, see :func:`suggest_cell`. Trials that complete count with
    their value; failed ones count as runs without a value. Processes that share a study may be given the same run;
    threads are not.

    Args:
        claims: One family; see :func:`lrlora.studies.stats.sequential.follow`.
        variants: All variants.
        seeds: The first seeds; more are added as :func:`lrlora.studies.sampling.seeds.seed_order` says.
        reference: The partner of claims that name none.
        most_seeds: How many seeds there may be.
        metric: What the claims call the trials' value. Other measures are read from the trial's user attribute
            ``metrics``.
        cost: Of a run of a variant; by default the mean duration of its trials, or of all if it has none.
        runs: Returns the runs that have ended as :mod:`lrlora.studies.stats.runs` describes them, in place of trials.
        places: The number of combinations of task and backbone: so many rows of ``runs`` are a run.
        seed: Of parameters other than ``variant`` and ``seed``, which are drawn at random.
    """

    def __init__(
        self,
        claims: Sequence[Claim],
        variants: Sequence[str],
        seeds: Sequence[int] = (),
        *,
        reference: str | None = None,
        most_seeds: int = MOST_SEEDS,
        metric: str = _VALUE,
        cost: Callable[[str], float] | None = None,
        runs: Callable[[], pd.DataFrame] | None = None,
        places: int = 1,
        seed: int | None = None,
    ) -> None:
        self.claims, self.variants, self.reference = list(claims), list(variants), reference
        self.most_seeds, self.metric, self.places = min(most_seeds, MOST_SEEDS), metric, places
        self.seeds = seed_order(seeds, self.most_seeds)
        self._cost, self._runs = cost, runs
        self._others = optuna.samplers.RandomSampler(seed=seed)
        self._given: dict[int, Run] = {}
        self._lock = Lock()
        self._followed: tuple[str, list[ClaimPath]] | None = None

    def follow(self, study: optuna.Study) -> list[ClaimPath]:
        """Returns what has been seen of each claim."""
        runs = self._ended(study)
        state = repr(runs[["variant", "seed", self.metric]].to_numpy().tolist())
        if self._followed is None or self._followed[0] != state:
            paths = follow(
                self.claims,
                runs,
                self.seeds,
                self.reference,
                self.metric,
                self.variants,
                self.places,
                self.most_seeds,
            )
            self._followed = state, paths
        return self._followed[1]

    def next_run(self, study: optuna.Study, busy: Collection[Run] = ()) -> Run | None:
        """Returns the variant and seed to run next; None if no open claim needs another run.

        Args:
            study: The Optuna study.
            busy: Runs that have been begun and have not ended, beside the running trials.
        """
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        begun = {run for trial in running if (run := _run_of(trial)) is not None}
        return next_run(
            self.follow(study),
            self.variants,
            self.reference,
            self.seeds,
            self.ended(study),
            {*begun, *self._given.values(), *busy},
            self._cost or self._costs(study),
        )

    def ended(self, study: optuna.Study) -> set[Run]:
        """Returns the variants and seeds whose runs have ended, in all places."""
        counts = self._ended(study).groupby(["variant", "seed"]).size()
        return {(str(name), int(seed)) for (name, seed), count in counts.items() if count >= self.places}

    def stop(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Ends ``study.optimize`` when no open claim needs another run: a callback."""
        if self.next_run(study) is None:
            study.stop()

    # -- what Optuna calls ----------------------------------------------------------------------------------

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns the distributions of ``variant`` and ``seed``."""
        return {"variant": CategoricalDistribution(self.variants), "seed": _SEEDS}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the next run.

        Raises:
            optuna.TrialPruned: No open claim needs another run.
        """
        with self._lock:
            found = self.next_run(study)
            if found is None:
                raise optuna.TrialPruned("no open claim needs another run")
            self._given[trial.number] = found
        return {"variant": found[0], "seed": found[1]}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Returns a random value of a parameter that is neither ``variant`` nor ``seed``."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Forgets that the trial was given its run: it is among the ended ones from now on."""
        self._given.pop(trial.number, None)

    def _ended(self, study: optuna.Study) -> pd.DataFrame:
        if self._runs is not None:
            return self._runs()
        states = (TrialState.COMPLETE, TrialState.FAIL)
        found = [
            {"variant": run[0], "seed": str(run[1]), self.metric: trial.value, **_metrics(trial)}
            for trial in study.get_trials(deepcopy=False, states=states)
            if (run := _run_of(trial)) is not None
        ]
        measures = dict.fromkeys([self.metric, *(claim.metric for claim in self.claims if claim.metric)])
        runs = pd.DataFrame(found, columns=["variant", "seed", *measures])
        return runs.astype(dict.fromkeys(measures, float))

    def _costs(self, study: optuna.Study) -> Callable[[str], float]:
        took: dict[str, list[float]] = {}
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if trial.duration is not None and (run := _run_of(trial)) is not None:
                took.setdefault(run[0], []).append(trial.duration.total_seconds())
        means = {name: fmean(seconds) for name, seconds in took.items()}
        usual = fmean(means.values()) if means else 1.0
        return lambda name: max(means.get(name, usual), 1e-6)


_SEEDS = IntDistribution(0, 2**32 - 1)


def suggest_cell(trial: Trial, sampler: ClaimSampler) -> Run:
    """Suggests the parameters ``variant`` and ``seed`` of a trial, and returns them.

    Raises:
        optuna.TrialPruned: No open claim needs another run.
    """
    variant = trial.suggest_categorical("variant", sampler.variants)
    return str(variant), trial.suggest_int("seed", _SEEDS.low, _SEEDS.high)


def _run_of(trial: FrozenTrial) -> Run | None:
    parameters = trial.params
    return (str(parameters["variant"]), int(parameters["seed"])) if {"variant", "seed"} <= parameters.keys() else None


def _metrics(trial: FrozenTrial) -> Mapping[str, float]:
    found: Mapping[str, float] = trial.user_attrs.get(METRICS, {})
    return found

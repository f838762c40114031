"""Pruning: a trial ends after a seed that decides it, or in the middle of a run that lags behind."""

from __future__ import annotations

import warnings

import optuna

from lrlora.studies.errors import StudyError, unknown_key

PRUNERS = ("wilcoxon", "hyperband", "none")
PAIRS_TO_ACT = 4
"""Runs after which the Wilcoxon test can reach p < 0.1: of n pairs the smallest one-sided p is 1 / 2ⁿ."""

_P = 0.1
_RUNGS = 4


def choose_pruner(runs: int) -> str:
    """Returns the default pruner for a number of runs per trial.

    >>> choose_pruner(2), choose_pruner(5)
    ('none', 'wilcoxon')
    """
    return "wilcoxon" if runs > PAIRS_TO_ACT else "none"


def make_pruner(name: str, runs: int, steps: int, interval: int) -> optuna.pruners.BasePruner:
    """Returns Optuna's pruner, for so many runs in a trial, steps in a run, and steps between validations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "wilcoxon":
            return optuna.pruners.WilcoxonPruner(p_threshold=_P, n_startup_steps=2)
        if name == "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=interval, max_resource=runs * steps)
    return optuna.pruners.NopPruner()


def validation_interval(name: str, steps: int, declared: int) -> int:
    """Returns the steps between validations: the study's, or for hyperband a quarter of the run if that is less.

    Raises:
        StudyError: There is no such pruner, or the runs are too short for hyperband.
    """
    if name not in PRUNERS:
        raise StudyError(str(unknown_key(name, PRUNERS, "--pruner")).replace("unknown key", "unknown pruner", 1))
    if name == "hyperband" and steps < 2:
        raise StudyError("--pruner hyperband: a run of 1 step cannot be pruned")
    declared = min(declared, steps)
    return declared if name != "hyperband" or 0 < declared < steps else -(-steps // _RUNGS)


def describe_pruner(name: str, runs: int) -> str:
    """Returns the effect of the pruner in a search with so many runs per trial, in a sentence."""
    if name != "wilcoxon":
        lagging = "Hyperband stops runs whose validation lags behind those of other trials after as many steps."
        return lagging if name == "hyperband" else "No trial is pruned."
    if runs > PAIRS_TO_ACT:
        return (
            f"The Wilcoxon pruner ends a trial once its runs are worse than the best trial's on the same seeds at "
            f"p < {_P}, which takes at least {PAIRS_TO_ACT} of the {runs}."
        )
    return (
        f"The Wilcoxon pruner has no effect: it needs {PAIRS_TO_ACT} paired runs before its test can reach p < {_P}, "
        f"and a trial has {runs}."
    )

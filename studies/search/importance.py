"""How much each setting mattered in a search, by PED-ANOVA (Watanabe, Bansal and Hutter 2023)."""

from __future__ import annotations

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from lrlora.studies.search.outcome import TrialFacts, VariantOutcome
from lrlora.studies.search.space import encode

NEEDED = 20
"""Complete trials below which nothing is said: the best quarter, whose spread is weighed, is then fewer than five."""

_BEST = 0.25


def importances(variant: VariantOutcome) -> dict[str, float]:
    """The share of each setting, the largest first; they add up to one. Empty where :func:`why_not` says why.

    Weighed is by how much the best quarter of the trials is concentrated in each setting against all of them. Settings
    that depend on others and were not tried in every trial are left out.
    """
    if why_not(variant) is not None:
        return {}
    study = optuna.create_study(direction="maximize" if variant.maximize else "minimize")
    study.add_trials([_trial(variant, trial) for trial in _usable(variant)])
    evaluator = PedAnovaImportanceEvaluator(target_quantile=_BEST)
    return dict(get_param_importances(study, evaluator=evaluator))


def why_not(variant: VariantOutcome) -> str | None:
    """Why no importance can be given, or None."""
    if len(variant.space) < 2:
        return "with one setting there is nothing to weigh"
    usable = len(_usable(variant))
    if usable < NEEDED:
        return f"it takes {NEEDED} complete trials, and {usable} can be used"
    return None


def _usable(variant: VariantOutcome) -> list[TrialFacts]:
    """The complete trials within the space; the untuned variant may lie outside of it, or not be expressible."""
    return [
        trial
        for trial in variant.complete
        if all(
            setting not in trial.settings
            or dimension.distribution(variant.defaults.get(setting))._contains(
                dimension.distribution(variant.defaults.get(setting)).to_internal_repr(encode(trial.settings[setting]))
            )
            for setting, dimension in variant.space.items()
        )
    ]


def _trial(variant: VariantOutcome, trial: TrialFacts) -> optuna.trial.FrozenTrial:
    return create_trial(
        value=trial.value,
        params={setting: encode(value) for setting, value in trial.settings.items()},
        distributions={
            setting: variant.space[setting].distribution(variant.defaults.get(setting)) for setting in trial.settings
        },
    )

"""The plots of a search, as Optuna draws them: history, importance, slices and parallel coordinates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial
from optuna.visualization import matplotlib as drawn

from lrlora.studies.report.figure_parts import PlotText
from lrlora.studies.report.formatting import Scale
from lrlora.studies.report.svg import drawing_style, inline_svg
from lrlora.studies.search.outcome import VariantOutcome
from lrlora.studies.search.trials import quiet_optuna

NEEDED = 20
"""Complete trials below which no importance is given: their best quarter is then fewer than five."""

_EVALUATOR = PedAnovaImportanceEvaluator(target_quantile=0.25)


def plots_of(variant: VariantOutcome, metric: str, key: str) -> list[PlotText]:
    """Returns every plot that has something to show, in reading order.

    Args:
        variant: The variant with its trials.
        metric: The metric that was optimised.
        key: Prefix of the names of the plots, unique on the page.
    """
    if not variant.complete:
        return []
    scale, name = Scale.of(metric), metric.capitalize()
    study, target = as_study(variant, scale.factor), scale.heading(metric)

    def history() -> Any:
        axes = drawn.plot_optimization_history(study, target_name=target)
        if variant.default is not None and variant.default.value is not None:
            axes.axhline(variant.default.value * scale.factor, color="black", linestyle="--", label="Untuned")
            axes.legend()
        return axes

    plots: list[tuple[str, Callable[[], Any], str]] = [
        ("history", history, f"{name} on the validation split by trial."),
    ]
    if importances(variant):
        draw: Callable[[], Any] = partial(drawn.plot_param_importances, study, evaluator=_EVALUATOR)
        caption = "Importance of each setting by PED-ANOVA for being among the best quarter of the trials."
        plots.append(("importance", draw, caption))
    searched = {setting for trial in study.get_trials(states=[TrialState.COMPLETE]) for setting in trial.params}
    for index, setting in enumerate(variant.space):
        if setting in searched:
            draw = partial(drawn.plot_slice, study, params=[setting], target_name=target)
            plots.append((f"slice-{index}", draw, f"{name} against {setting}, a dot per complete trial."))
    if searched and len(variant.space) > 1:
        draw = partial(drawn.plot_parallel_coordinate, study, target_name=target)
        plots.append(("parallel", draw, f"Settings and {metric} of each complete trial."))
    return [_plot(f"{key}-{suffix}", draw, caption) for suffix, draw, caption in plots]


def importances(variant: VariantOutcome) -> dict[str, float]:
    """Returns the share of each setting, the largest first; they add up to 1. Empty if :func:`why_not` has a reason.

    Settings that depend on others and were not tried in every trial are left out.
    """
    if why_not(variant) is not None:
        return {}
    with quiet_optuna():
        return dict(get_param_importances(as_study(variant), evaluator=_EVALUATOR))


def why_not(variant: VariantOutcome) -> str | None:
    """Returns the reason why no importance is given, or None."""
    if len(variant.space) < 2:
        return "there is one setting only"
    usable = len(as_study(variant).get_trials(states=[TrialState.COMPLETE]))
    return None if usable >= NEEDED else f"it takes {NEEDED} complete trials within the space, and there are {usable}"


def as_study(variant: VariantOutcome, factor: float = 1.0) -> optuna.Study:
    """Returns the trials as a study of Optuna in memory, with their values times a factor.

    Trials that are not complete, and the untuned variant if it is outside of the space, are failed trials in it.
    """
    with quiet_optuna():
        study = optuna.create_study(direction=variant.direction)
        study.add_trials([_scaled(trial, factor) for trial in variant.trials])
    return study


def _scaled(trial: FrozenTrial, factor: float) -> FrozenTrial:
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        with contextlib.suppress(ValueError):
            return create_trial(value=trial.value * factor, params=trial.params, distributions=trial.distributions)
    return create_trial(state=TrialState.FAIL)


def _plot(name: str, draw: Callable[[], Any], caption: str) -> PlotText:
    with drawing_style(name), quiet_optuna():
        plt.rcParams["savefig.bbox"] = "tight"  # labels may lie outside of the figures
        figure = np.ravel(draw())[0].figure
        try:
            return PlotText(name, inline_svg(figure, caption), caption)
        finally:
            plt.close(figure)

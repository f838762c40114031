"""An Optuna pruner of runs that are no better than chance."""

from __future__ import annotations

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from lrlora.studies.stats.measures import chance_bound


class ChancePruner(optuna.pruners.BasePruner):
    """Prunes a trial whose accuracy is still at chance after some steps.

    A value is at chance if it is within two standard errors of it, as
    :func:`lrlora.studies.stats.measures.at_chance` has it. A trial is kept if any value that it reported was not.

    It is meant for searches. A run that is pruned has no result; to leave it out of a comparison of variants would make
    the variant better than it is, so ``lrlora study run`` prunes none.

    Args:
        chance: The accuracy of the most frequent class.
        examples: On how many examples accuracy is measured.
        warmup: The steps, as they are reported, before which nothing is pruned.

    Raises:
        ValueError: ``chance`` is not between 0 and 1, or ``examples`` is below 1.
    """

    def __init__(self, chance: float, examples: int, warmup: int) -> None:
        if not 0 < chance < 1:
            raise ValueError(f"chance must be between 0 and 1, got {chance}")
        if examples < 1:
            raise ValueError(f"examples must be >= 1, got {examples}")
        self.bound = chance_bound(chance, examples)
        self.warmup = warmup

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Returns whether the trial is at chance.

        Raises:
            ValueError: The study minimizes its value, which is then no accuracy.
        """
        if study.direction == StudyDirection.MINIMIZE:
            raise ValueError("ChancePruner needs a study that maximizes an accuracy")
        if trial.last_step is None or trial.last_step < self.warmup:
            return False
        return all(not value > self.bound for value in trial.intermediate_values.values())

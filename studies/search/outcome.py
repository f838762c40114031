"""The outcome of a search: the best trial beside the untuned variant, the budget of each variant, and caveats."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial

from lrlora.studies.errors import StudyError
from lrlora.studies.report.formatting import plural
from lrlora.studies.search.declaration import TUNE_FILE, read_tune_file
from lrlora.studies.search.space import Dimension, Settings, Space, is_number, show
from lrlora.studies.search.trials import INDEX, LOSSES, OUTCOME, VALUES, open_storage
from lrlora.studies.spec.tuning import best_of

OUTCOMES = ("complete", "pruned", "diverged", "out-of-memory", "refused", "failed")
FEW_TRIALS = 10
"""Fewer complete trials than this cover a space too sparsely: TPE samples as many at random before it learns."""


@dataclass(frozen=True)
class VariantOutcome:
    """One variant with its trials.

    Attributes:
        name: The variant's.
        space: What was searched.
        defaults: Its untuned settings.
        direction: ``"maximize"`` or ``"minimize"``.
        trials: Those that have ended, by index, with the attributes of :mod:`lrlora.studies.search.trials`.
    """

    name: str
    space: Space
    defaults: Settings
    direction: Literal["maximize", "minimize"]
    trials: list[FrozenTrial]

    def settings(self, trial: FrozenTrial) -> Settings:
        """Returns what a trial tried."""
        stored = trial.params
        return {
            name: one.decode(stored[name], self.defaults.get(name))
            for name, one in self.space.items()
            if name in stored
        }

    @property
    def complete(self) -> list[FrozenTrial]:
        """The trials with a value."""
        return [trial for trial in self.trials if trial.user_attrs[OUTCOME] == "complete"]

    @property
    def best(self) -> FrozenTrial | None:
        """The best trial, see :func:`lrlora.studies.spec.tuning.best_of`."""
        runs = [(one.user_attrs[VALUES], one.user_attrs[LOSSES]) for one in self.complete]
        index = best_of(dict(enumerate(runs)), self.direction)
        return None if index is None else self.complete[index]

    @property
    def default(self) -> FrozenTrial | None:
        """The trial of the untuned variant, if it is complete."""
        return next((trial for trial in self.complete if trial.user_attrs[INDEX] == 0), None)

    @property
    def gains(self) -> list[float]:
        """The best trial's values minus those of the untuned variant, run by run; empty if either is missing."""
        if self.best is None or self.default is None:
            return []
        best, default = self.best.user_attrs[VALUES], self.default.user_attrs[VALUES]
        return [a - b for a, b in zip(best, default, strict=True)]

    @property
    def difference(self) -> float | None:
        """The best trial's value minus the untuned variant's."""
        return mean(self.gains) if self.gains else None

    @property
    def standard_error(self) -> float | None:
        """Of that difference, over the pairs of runs; None with fewer than two, or where the default is the best."""
        n = len(self.gains)
        return None if n < 2 or self.best is self.default else stdev(self.gains) / n**0.5

    def counts(self) -> dict[str, int]:
        """Returns the number of trials by outcome, of those that occurred and of complete ones."""
        found = Counter(trial.user_attrs[OUTCOME] for trial in self.trials)
        return {name: found[name] for name in OUTCOMES if found[name] or name == "complete"}

    def warnings(self) -> list[str]:
        """Returns caveats about this variant, a sentence each."""
        best, complete, found = self.best, len(self.complete), list[str]()
        if best is None:
            return [f"{self.name}: no trial is complete, so there is no best one."]
        if self.default is None:
            found.append("the trial of the untuned variant is not complete, so no gain is given.")
        elif best is self.default:
            found.append("no trial was better than the untuned variant.")
        if complete < FEW_TRIALS:
            found.append(f"{complete} complete trials cover the space too sparsely; {FEW_TRIALS} are few.")
        for setting, value in self.settings(best).items() if best is not self.default else ():
            edge = self.space[setting].edge(value, self.defaults.get(setting)) if is_number(value) else None
            if edge is not None:
                found.append(f"the best {setting}, {show(value)}, is at the {edge} edge of its space; widen it.")
        error, difference = self.standard_error, self.difference
        if difference and len(self.gains) < 2:
            found.append("with one run per trial the gain has no standard error.")
        elif difference and error is not None and abs(difference) < 2 * error:
            gain = f"the gain of {abs(difference):.4f} is less than twice its standard error over seeds"
            found.append(f"{gain}, {error:.4f}.")
        return [f"{self.name}: {text}" for text in found]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a search so far."""

    out: Path
    content: dict[str, Any]
    variants: list[VariantOutcome]

    @property
    def metric(self) -> str:
        """The metric that was optimised."""
        return str(self.content["metric"]["name"])

    def tuned(self) -> dict[str, Settings]:
        """Returns by variant the settings of its best trial: what a study takes as ``tuned``."""
        return {one.name: one.settings(one.best) for one in self.variants if one.best is not None}

    def counts(self) -> dict[str, int]:
        """Returns the number of trials by outcome, over all variants."""
        return dict(sum((Counter(one.counts()) for one in self.variants), Counter()))

    def budget(self) -> str:
        """Returns the budget of each variant, in a sentence or two."""
        seeds, runs = ", ".join(map(str, self.content["seeds"])), plural(self.content["runs_per_trial"], "run")
        given = ", ".join(f"{len(one.trials)} ({one.name})" for one in self.variants) + " trials"
        if len(numbers := {len(one.trials) for one in self.variants}) == 1:
            given = plural(numbers.pop(), "trial")
        spaces: dict[tuple[str, ...], list[str]] = {}
        for one in self.variants:
            spaces.setdefault(tuple(name.removeprefix("training.") for name in one.space), []).append(one.name)
        searched = "; ".join(f"{', '.join(names)} over {', '.join(space)}" for space, names in spaces.items())
        return (
            f"{'Every variant' if len(self.variants) > 1 else self.variants[0].name} was tuned with {given} of {runs} "
            f"of {self.content['steps']} steps, seeds {seeds} (pruner {self.content['pruner']}), by {self.metric} on "
            f"the validation split; the test split was not used. Searched: {searched}."
        )

    def warnings(self) -> list[str]:
        """Returns caveats, a sentence each."""
        found = [text for one in self.variants for text in one.warnings()]
        if len({len(one.trials) for one in self.variants}) > 1:
            found.append("The variants have had different numbers of trials, so their comparison is not fair.")
        if len({len(one.space) for one in self.variants}) > 1:
            found.append("The same number of trials covers a space of few settings more densely than one of many.")
        if any(one.difference for one in self.variants):
            found.append(
                "The value of the best of many trials is biased by its selection. Run tuned.yaml for an estimate on "
                "other seeds and the test split."
            )
        return found


def load_outcome(out: Path) -> Outcome:
    """Read the outcome of a search from its folder.

    Raises:
        StudyError: No search was run there.
    """
    content = read_tune_file(out)
    if content is None:
        raise StudyError(f"{out}: no search was run here (no {TUNE_FILE})")
    storage = open_storage(out)
    known, found = set(optuna.get_all_study_names(storage)), []
    for name, declared in content["variants"].items():
        trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False) if name in known else []
        ended = sorted((one for one in trials if OUTCOME in one.user_attrs), key=lambda one: one.user_attrs[INDEX])
        space = {key: Dimension(**value) for key, value in declared["space"].items()}
        found.append(VariantOutcome(name, space, declared["default"], content["metric"]["direction"], ended))
    return Outcome(out, content, found)

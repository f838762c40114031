"""The outcome of a search: the best trial beside the untuned variant, the budget of each variant, and caveats."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import Any, Literal

from lrlora.studies.errors import StudyError
from lrlora.studies.report.formatting import plural
from lrlora.studies.search.declaration import TUNE_FILE, read_tune_file
from lrlora.studies.search.space import Dimension, Settings, Space, is_number, show
from lrlora.studies.search.trials import OUTCOME, TrialFacts, open_storage
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
        trials: Those that have ended, by number.
    """

    name: str
    space: Space
    defaults: Settings
    direction: Literal["maximize", "minimize"]
    trials: list[TrialFacts]

    @property
    def complete(self) -> list[TrialFacts]:
        """The trials with a value."""
        return [trial for trial in self.trials if trial.value is not None]

    @property
    def best(self) -> TrialFacts | None:
        """The best trial, see :func:`lrlora.studies.spec.tuning.best_of`."""
        index = best_of({i: (one.values, one.losses) for i, one in enumerate(self.complete)}, self.direction)
        return None if index is None else self.complete[index]

    @property
    def default(self) -> TrialFacts | None:
        """The variant as it stands, if that trial is complete."""
        return next((trial for trial in self.complete if trial.number == 0), None)

    @property
    def difference(self) -> float | None:
        """The best trial's value minus the default's."""
        best, default = self.best, self.default
        if best is None or default is None or best.value is None or default.value is None:
            return None
        return best.value - default.value

    @property
    def standard_error(self) -> float | None:
        """Of that difference, over the pairs of runs; None with fewer than two, or where the default is the best."""
        best, default = self.best, self.default
        if best is None or default is None or best is default or len(best.values) < 2:
            return None
        pairs = [a - b for a, b in zip(best.values, default.values, strict=True)]
        return stdev(pairs) / math.sqrt(len(pairs))

    def counts(self) -> dict[str, int]:
        """The number of trials by outcome, of those that occurred and of complete ones."""
        found = Counter(trial.outcome for trial in self.trials)
        return {name: found[name] for name in OUTCOMES if found[name] or name == "complete"}

    def warnings(self) -> list[str]:
        """Caveats about this variant, a sentence each."""
        best, complete, found = self.best, len(self.complete), list[str]()
        if best is None:
            return [f"{self.name}: no trial is complete, so there is no best one."]
        if self.default is None:
            found.append("the trial of the untuned variant is not complete, so no gain is given.")
        elif best is self.default:
            found.append("no trial was better than the untuned variant.")
        if complete < FEW_TRIALS:
            found.append(f"{complete} complete trials cover the space too sparsely; {FEW_TRIALS} are few.")
        for setting, dimension in self.space.items():
            value = best.settings.get(setting)
            if best.number == 0 or value is None or not is_number(value):
                continue
            if edge := dimension.edge(value, self.defaults.get(setting)):
                found.append(f"the best {setting}, {show(value)}, is at the {edge} edge of its space; widen it.")
        error, difference = self.standard_error, self.difference
        if difference and len(best.values) < 2:
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
        """By variant, the settings of its best trial: what a study takes as ``tuned``."""
        return {one.name: one.best.settings for one in self.variants if one.best is not None}

    def counts(self) -> dict[str, int]:
        """Trials by outcome, over all variants."""
        found = Counter[str]()
        for one in self.variants:
            found.update(one.counts())
        return dict(found)

    def budget(self) -> str:
        """The budget of each variant, in a sentence or two."""
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
        """Caveats, a sentence each."""
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
    import optuna

    content = read_tune_file(out)
    if content is None:
        raise StudyError(f"{out}: no search was run here (no {TUNE_FILE})")
    storage = open_storage(out)
    known, found = set(optuna.get_all_study_names(storage)), []
    for name, declared in content["variants"].items():
        trials = []
        if name in known:
            study = optuna.load_study(study_name=name, storage=storage)
            ended = [trial for trial in study.get_trials(deepcopy=False) if OUTCOME in trial.user_attrs]
            trials = sorted(map(TrialFacts.read, ended), key=lambda trial: trial.number)
        space = {key: Dimension(**value) for key, value in declared["space"].items()}
        found.append(VariantOutcome(name, space, declared["default"], content["metric"]["direction"], trials))
    return Outcome(out, content, found)

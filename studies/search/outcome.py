"""What a search found: the best trial beside the untuned variant, what each variant was given, and what to mind."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.search.declaration import TUNE_FILE, read_tune_file, space_of
from lrlora.studies.search.shared_storage import open_storage
from lrlora.studies.search.space import Settings, Space

OUTCOMES = ("complete", "pruned", "diverged", "out-of-memory", "refused", "failed")
FEW_TRIALS = 10
"""Fewer complete trials than this say little of a space: as many as the sampler draws at random before it learns."""

_EDGE = 0.05


@dataclass(frozen=True)
class TrialFacts:
    """A trial that has ended.

    Attributes:
        number: 0 is the variant as it stands.
        outcome: One of :data:`OUTCOMES`.
        value: The validation figure, averaged over the runs; None unless the trial is complete.
        values: Of each run.
        losses: The validation loss of each run.
        settings: What was tried.
        runs: MLflow run ids.
        reason: Why it is not complete.
        seconds: All runs together.
    """

    number: int
    outcome: str
    value: float | None
    values: list[float]
    losses: list[float]
    settings: Settings
    runs: list[str]
    reason: str | None
    seconds: float


@dataclass(frozen=True)
class VariantOutcome:
    """What was found for one variant."""

    name: str
    method: str
    space: Space
    defaults: Settings
    maximize: bool
    trials: list[TrialFacts]

    @property
    def complete(self) -> list[TrialFacts]:
        """The trials with a value."""
        return [trial for trial in self.trials if trial.value is not None]

    @property
    def best(self) -> TrialFacts | None:
        """The trial with the best figure; of those that tie the one with the least loss, and then the first."""

        def rank(trial: TrialFacts) -> tuple[float, float, int]:
            assert trial.value is not None
            return self.sign * trial.value, -mean(trial.losses), -trial.number

        return max(self.complete, key=rank, default=None)

    @property
    def default(self) -> TrialFacts | None:
        """The variant as it stands, if that trial is complete."""
        return next((trial for trial in self.complete if trial.number == 0), None)

    @property
    def sign(self) -> int:
        """1 if more is better, else -1."""
        return 1 if self.maximize else -1

    @property
    def difference(self) -> float | None:
        """By how much the best trial's figure differs from the default's."""
        if self.best is None or self.default is None:
            return None
        assert self.best.value is not None
        assert self.default.value is not None
        return self.best.value - self.default.value

    @property
    def standard_error(self) -> float | None:
        """Of that difference, over the pairs of runs; None with fewer than two, or where the default is the best."""
        best, default = self.best, self.default
        if best is None or default is None or best is default or len(best.values) < 2:
            return None
        pairs = [a - b for a, b in zip(best.values, default.values, strict=True)]
        return stdev(pairs) / math.sqrt(len(pairs))

    def counts(self) -> dict[str, int]:
        """Trials by outcome; those that did not occur are left out but for the complete ones."""
        found = Counter(trial.outcome for trial in self.trials)
        return {name: found[name] for name in OUTCOMES if found[name] or name == "complete"}

    def warnings(self) -> list[str]:
        """What to mind of this variant, a sentence each."""
        if self.best is None:
            return [f"{self.name}: no trial is complete, so nothing was found."]
        found = []
        if self.default is None:
            found.append(f"{self.name}: the untuned variant did not come to its end, so there is no gain to speak of.")
        elif self.best is self.default:
            found.append(f"{self.name}: no trial was better than the untuned variant.")
        complete = len(self.complete)
        if complete < FEW_TRIALS:
            found.append(f"{self.name}: {complete} complete trials, fewer than {FEW_TRIALS}, say little of the space.")
        found += [f"{self.name}: {text}" for text in self._edges()]
        error, difference = self.standard_error, self.difference
        if difference and len(self.best.values) < 2:
            found.append(f"{self.name}: with one run to a trial, noise and gain cannot be told apart.")
        elif difference and error is not None and abs(difference) < 2 * error:
            found.append(
                f"{self.name}: the gain of {abs(difference):.4f} is less than twice its standard error over seeds, "
                f"{error:.4f}."
            )
        return found

    def _edges(self) -> list[str]:
        assert self.best is not None
        found = []
        for setting, dimension in self.space.items():
            value = self.best.settings.get(setting)
            if self.best.number == 0 or not isinstance(value, (int, float)) or isinstance(value, bool):
                continue
            if dimension.values is not None:
                numbers = [
                    one for one in dimension.choices(self.defaults.get(setting)) if isinstance(one, (int, float))
                ]
                at = (value == min(numbers)) - (value == max(numbers)) if len(numbers) > 2 else 0
            else:
                assert dimension.low is not None
                assert dimension.high is not None
                scale = math.log if dimension.log else float
                low, high = scale(dimension.low), scale(dimension.high)
                place = (scale(value) - low) / (high - low)
                at = (place < _EDGE) - (place > 1 - _EDGE)
            if at:
                end = "lower" if at > 0 else "upper"
                found.append(f"the best {setting}, {show(value)}, is at the {end} edge of its space; widen it.")
        return found


@dataclass(frozen=True)
class Outcome:
    """What a search has found so far."""

    out: Path
    content: dict[str, Any]
    variants: list[VariantOutcome] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """Name of the figure that counts."""
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
        """What each variant was given, in a sentence or two."""
        seeds, steps = self.content["seeds"], self.content["steps"]
        runs, each = self.content["runs_per_trial"], {len(one.trials) for one in self.variants}
        given = (
            _plural(each.pop(), "trial")
            if len(each) == 1
            else ", ".join(f"{len(one.trials)} ({one.name})" for one in self.variants) + " trials"
        )
        what = f"{_plural(runs, 'run')} of {steps} steps, seeds {', '.join(map(str, seeds))}"
        spaces: dict[tuple[str, ...], list[str]] = {}
        for one in self.variants:
            spaces.setdefault(tuple(one.space), []).append(one.name)
        searched = "; ".join(
            f"{', '.join(names)} over {', '.join(name.removeprefix('training.') for name in space)}"
            for space, names in spaces.items()
        )
        who = "Every variant" if len(self.variants) > 1 else self.variants[0].name
        return (
            f"{who} was tuned with {given} of {what} (pruner {self.content['pruner']}), by {self.metric} on the "
            f"validation split; the test split played no part. Searched: {searched}."
        )

    def warnings(self) -> list[str]:
        """What to mind, a sentence each."""
        found = [text for one in self.variants for text in one.warnings()]
        if len({len(one.trials) for one in self.variants}) > 1:
            found.append("The variants have had different numbers of trials, so that a comparison of them is not fair.")
        if len({len(one.space) for one in self.variants}) > 1:
            found.append(
                "The same number of trials covers a space of few settings more densely than one of many; see what was "
                "searched for each."
            )
        if any(one.difference for one in self.variants):
            found.append(
                "A best of many trials flatters itself: its figure was chosen for being high. What the settings are "
                "worth is for a run of tuned.yaml to say, on other seeds and the test split."
            )
        return found


def load_outcome(out: Path) -> Outcome:
    """Read what a search has found from its folder.

    Raises:
        StudyError: No search was run there.
    """
    import optuna

    content = read_tune_file(out)
    if content is None:
        raise StudyError(f"{out}: no search was run here (no {TUNE_FILE})")
    storage = open_storage(out)
    known = set(optuna.get_all_study_names(storage))
    found = []
    for name, declared in content["variants"].items():
        trials = []
        if name in known:
            study = optuna.load_study(study_name=name, storage=storage)
            trials = [_facts(trial) for trial in study.get_trials(deepcopy=False) if "outcome" in trial.user_attrs]
        maximize = content["metric"]["direction"] == "maximize"
        space = space_of(declared)
        found.append(VariantOutcome(name, declared["method"], space, declared["default"], maximize, trials))
    return Outcome(out, content, found)


def _facts(trial: Any) -> TrialFacts:
    facts = trial.user_attrs
    complete = facts["outcome"] == "complete"
    return TrialFacts(
        number=trial.number,
        outcome=facts["outcome"],
        value=trial.value if complete else None,
        values=facts["values"],
        losses=facts["losses"],
        settings=facts["settings"],
        runs=facts["runs"],
        reason=facts["reason"],
        seconds=facts["seconds"],
    )


def show(value: Any) -> str:
    """A setting's value, for people."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"

"""Corr2Cause: does causation follow from correlation? (Jin et al. 2023, as packaged in OpenAI evals)

1,522 hypotheses about closed systems of two to five variables, with three answers.
"""

from __future__ import annotations

from functools import cached_property

from lrlora.studies.tasks.evals_wheel import EvalsTask, evals_member
from lrlora.studies.tasks.task import Examples, split_groups

_SPLIT_SEED = 2019
_HELD_OUT = 250


class Corr2Cause(EvalsTask):
    """Is the hypothesis entailed, contradicted, or neither?

    724 of the 2,246 samples are repetitions. There are 21 premises only, which stand in all splits: what is new in the
    test split is the hypothesis on a premise, not the premise. The hypothesis comes first.
    """

    data = evals_member("corr2cause")
    about = "hypotheses of Corr2Cause"

    @property
    def labels(self) -> tuple[str, ...]:
        """``("contradiction", "entailment", "neutral")``."""
        return ("contradiction", "entailment", "neutral")

    def split(self, name: str) -> Examples:
        """The hypotheses of a split, in an order that is the same everywhere."""
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Examples]:
        rows = []
        for asked, right in self.pairs():
            premise, _, hypothesis = asked.partition(" Hypothesis: ")
            answer = self.labels.index(right.removeprefix("Answer: "))
            rows.append((f"{hypothesis} {premise.removeprefix('Premise: ')}", answer))
        splits = split_groups([[row] for row in rows], _HELD_OUT, _SPLIT_SEED)
        return {name: Examples.from_rows(rows) for name, rows in splits.items()}

"""Corr2Cause: does causation follow from correlation? (Jin et al. 2023, as packaged in OpenAI evals)

1,522 hypotheses about closed systems of two to five variables, with three answers.
"""

from __future__ import annotations

from lrlora.studies.tasks.evals_wheel import EvalsTask, evals_member


class Corr2Cause(EvalsTask):
    """Is the hypothesis entailed, contradicted, or neither?

    724 of the 2,246 samples are repetitions. There are 21 premises only, which stand in all splits: what is new in the
    test split is the hypothesis on a premise, not the premise. The hypothesis comes first.
    """

    data = evals_member("corr2cause")
    about = "hypotheses of Corr2Cause"
    held_out = 250

    @property
    def labels(self) -> tuple[str, ...]:
        """``("contradiction", "entailment", "neutral")``."""
        return ("contradiction", "entailment", "neutral")

    def groups(self) -> list[list[tuple[str, int]]]:
        """A hypothesis by itself, before its premise."""
        found = []
        for asked, right in self.pairs():
            premise, _, hypothesis = asked.partition(" Hypothesis: ")
            answer = self.labels.index(right.removeprefix("Answer: "))
            found.append([(f"{hypothesis} {premise.removeprefix('Premise: ')}", answer)])
        return found

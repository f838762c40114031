"""QuaRTz: 3,828 questions on how one quantity follows another, with two options (Tafjord et al. 2019).

Each is about a relation of everyday science or economics: with more resistors in series, does the resistance increase
or decrease? The sentence of background knowledge that the original has with every question is not in this packaging.
"""

from __future__ import annotations

import re

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.evals_wheel import EvalsTask, evals_member
from lrlora.studies.tasks.task import Questions
from lrlora.studies.tasks.twins import groups_of_twins

_TWINS = 0.6
"""Share of common words from which two questions are two forms of one: 1,807 pairs, and 124 without a twin."""
_FORM = re.compile(r"(?s)(.*)\n\n A: (.*)\n B: (.*)")


class Quartz(EvalsTask):
    """Which of two options is right? 2,827 questions to train on, 500 to validate and 501 to test.

    Of the 3,860 samples 32 are left out: 16 questions that stand there twice, with two different answers.
    The authors made most questions in pairs that differ by a word or two ("more", "less") and have opposite answers.
    The packaging does not say which; questions with three fifths of their words in common are kept in one split here.
    """

    kind = "multiple-choice"
    data = evals_member("quartz")
    about = "questions of QuaRTz"
    held_out = 500
    columns = Questions

    @property
    def labels(self) -> tuple[str, ...]:
        """``("A", "B")``."""
        return ("A", "B")

    def groups(self) -> list[list[tuple[str, tuple[str, ...], int]]]:
        """A question with its twins."""
        every = [self._read(*pair) for pair in self.pairs()]
        twins = groups_of_twins([question for question, _, _ in every], _TWINS)
        return [[every[i] for i in group] for group in twins]

    def _read(self, asked: str, right: str) -> tuple[str, tuple[str, ...], int]:
        found = _FORM.fullmatch(asked)
        if found is None:
            raise StudyError(f"data 'quartz': not a question with two options: {asked!r}")
        question, *options = (part.strip() for part in found.groups())
        return question, tuple(options), self.labels.index(right)

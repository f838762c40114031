"""CREPE: does a step of a procedure make an event more or less likely? (Zhang et al. 2023, as packaged in OpenAI evals)

1,520 questions on 136 everyday procedures, such as washing dishes.
"""

from __future__ import annotations

import re
from functools import cached_property

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.evals_wheel import EvalsTask, evals_member
from lrlora.studies.tasks.task import Examples, split_groups

_SPLIT_SEED = 2019
_HELD_OUT = 250
_FORM = re.compile(r"(?s)((I'm trying to .*?)\. .*)At this point, how will (.*\?) Answer with .*")


class Crepe(EvalsTask):
    """How does a step change the likelihood of an event? Three classes, of which one is four times as frequent.

    Accuracy says little here: judge by ``f1``. A procedure is in one split only, with all that is asked about it. The
    question comes before the procedure, so that a long procedure loses its end and not what is asked.
    """

    data = evals_member("crepe")
    about = "questions of CREPE"

    @property
    def labels(self) -> tuple[str, ...]:
        """``("equally likely", "less likely", "more likely")``."""
        return ("equally likely", "less likely", "more likely")

    def split(self, name: str) -> Examples:
        """The questions of a split, in an order that is the same everywhere."""
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Examples]:
        procedures: dict[str, list[tuple[str, int]]] = {}
        for asked, right in self.pairs():
            found = _FORM.fullmatch(asked)
            if found is None:
                raise StudyError(f"data 'crepe': not a question on a procedure: {asked!r}")
            done, goal, question = found.groups()
            example = f"How will {question} {done.strip()}", self.labels.index(right)
            procedures.setdefault(goal, []).append(example)
        splits = split_groups(list(procedures.values()), _HELD_OUT, _SPLIT_SEED)
        return {name: Examples.from_rows(rows) for name, rows in splits.items()}

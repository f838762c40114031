"""CREPE: does a step of a procedure make an event more or less likely? (Zhang et al. 2023, as packaged in OpenAI evals)

1,520 questions on 136 everyday procedures, such as washing dishes.
"""

from __future__ import annotations

import re

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.evals_wheel import EvalsTask, evals_member

_FORM = re.compile(r"(?s)((I'm trying to .*?)\. .*)At this point, how will (.*\?) Answer with .*")


class Crepe(EvalsTask):
    """How does a step change the likelihood of an event? Three classes, of which one is four times as frequent.

    Accuracy says little here: judge by ``f1``. A procedure is in one split only, with all that is asked about it. The
    question comes before the procedure, so that a long procedure loses its end and not what is asked.
    """

    data = evals_member("crepe")
    about = "questions of CREPE"
    held_out = 250

    @property
    def labels(self) -> tuple[str, ...]:
        """``("equally likely", "less likely", "more likely")``."""
        return ("equally likely", "less likely", "more likely")

    def groups(self) -> list[list[tuple[str, int]]]:
        """All that is asked about a procedure."""
        procedures: dict[str, list[tuple[str, int]]] = {}
        for asked, right in self.pairs():
            found = _FORM.fullmatch(asked)
            if found is None:
                raise StudyError(f"data 'crepe': not a question on a procedure: {asked!r}")
            done, goal, question = found.groups()
            example = f"How will {question} {done.strip()}", self.labels.index(right)
            procedures.setdefault(goal, []).append(example)
        return list(procedures.values())

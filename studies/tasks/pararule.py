"""PARARULE-Plus: does a statement follow from facts and rules? (Bao et al. 2022, as packaged in OpenAI evals)

2,000 questions on made-up worlds, whose answers take two to five rules.
"""

from __future__ import annotations

import re

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.evals_wheel import EvalsTask, evals_member

_FORM = re.compile(r"(?s)Passage: (.*) Question: (.*)\nAnswer:")


class Pararule(EvalsTask):
    """Is the statement true? A passage is in one split only, with all that is asked about it.

    The statement comes before the passage; together they have about 200 tokens and at most 301.
    """

    data = evals_member("pararule")
    about = "questions of PARARULE-Plus"
    held_out = 300

    @property
    def labels(self) -> tuple[str, ...]:
        """``("false", "true")``."""
        return ("false", "true")

    def groups(self) -> list[list[tuple[str, int]]]:
        """All that is asked about a passage."""
        passages: dict[str, list[tuple[str, int]]] = {}
        for asked, right in self.pairs():
            found = _FORM.fullmatch(asked)
            if found is None:
                raise StudyError(f"data 'pararule': not a statement on a passage: {asked!r}")
            passage, statement = (part.strip() for part in found.groups())
            passages.setdefault(passage, []).append((f"{statement} {passage}", self.labels.index(right)))
        return list(passages.values())

"""28,614 news headlines, sarcastic (The Onion) or not (HuffPost): Misra and Arora 2019, as packaged in OpenAI evals."""

from __future__ import annotations

from functools import cached_property

from lrlora.studies.tasks.evals_wheel import EvalsTask, evals_member
from lrlora.studies.tasks.task import Examples, split_groups

HEADLINES = evals_member("sarcasm")

_SPLIT_SEED = 2019
"""Fixed: the splits belong to the task, not to a run."""

_HELD_OUT = 3000
"""Headlines in the validation split, and as many in the test split."""


class Sarcasm(EvalsTask):
    """Is this headline sarcastic? 22,498 headlines to train on, 3,000 each to validate and to test.

    116 of the 28,614 headlines are repetitions ("sunday roundup"); each is kept once, so that none is in two splits.
    """

    data = HEADLINES
    about = "headlines"

    @property
    def labels(self) -> tuple[str, ...]:
        """``("plain", "sarcastic")``."""
        return ("plain", "sarcastic")

    def split(self, name: str) -> Examples:
        """The headlines of a split, in an order that is the same everywhere."""
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Examples]:
        splits = split_groups([[(text, int(label))] for text, label in self.pairs()], _HELD_OUT, _SPLIT_SEED)
        return {name: Examples.from_rows(rows) for name, rows in splits.items()}

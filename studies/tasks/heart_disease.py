"""918 patients in words, with heart disease or without, as packaged in OpenAI evals."""

from __future__ import annotations

from functools import cached_property

from lrlora.studies.tasks.evals_wheel import EvalsTask, evals_member
from lrlora.studies.tasks.task import Examples, split_groups

_SPLIT_SEED = 2019
_HELD_OUT = 180


class HeartDisease(EvalsTask):
    """Does this patient have heart disease? Eleven measurements as text, of about 85 tokens together.

    558 patients to train on, 180 each to validate and to test. A table in disguise: it asks whether an adapter can
    read numbers and categories, and says nothing of language, nor of medicine.
    """

    data = evals_member("heart-disease")
    about = "descriptions of patients"

    @property
    def labels(self) -> tuple[str, ...]:
        """``("healthy", "heart disease")``."""
        return ("healthy", "heart disease")

    def split(self, name: str) -> Examples:
        """The patients of a split, in an order that is the same everywhere."""
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Examples]:
        splits = split_groups([[(text, int(label))] for text, label in self.pairs()], _HELD_OUT, _SPLIT_SEED)
        return {name: Examples.from_rows(rows) for name, rows in splits.items()}

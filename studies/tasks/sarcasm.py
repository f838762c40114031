"""28,614 news headlines, sarcastic (The Onion) or not (HuffPost): Misra and Arora 2019, as packaged in OpenAI evals."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cached_property

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.pypi_data import WheelMember
from lrlora.studies.tasks.task import Examples, Task

HEADLINES = WheelMember(
    name="sarcasm",
    requirement="evals==3.0.1.post1",
    wheel_sha256="0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78",
    member="evals/registry/data/sarcasm/samples.jsonl",
    member_sha256="4cb34ff4d2718da62368440ffe8dece7ece39a46b0fe4d172fdd8a76bc420f46",
    megabytes=46,
)

_SPLIT_SEED = 2019
"""Fixed: the splits belong to the task, not to a run."""

_HELD_OUT = 3000
"""Headlines in the validation split, and as many in the test split."""


class Sarcasm(Task):
    """Is this headline sarcastic? 22,498 headlines to train on, 3,000 each to validate and to test.

    116 of the 28,614 headlines are repetitions ("sunday roundup"); each is kept once, so that none is in two splits.
    """

    data = HEADLINES

    @property
    def labels(self) -> tuple[str, ...]:
        """``("plain", "sarcastic")``."""
        return ("plain", "sarcastic")

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Download the headlines on first use."""
        if not HEADLINES.path.exists():
            announce(
                f"fetching the headlines once: {HEADLINES.requirement}, {HEADLINES.megabytes} MB, to {HEADLINES.path}"
            )
            HEADLINES.fetch()
        HEADLINES.read()

    def split(self, name: str) -> Examples:
        """The headlines of a split, in an order that is the same everywhere."""
        held_out = {"validation": slice(0, _HELD_OUT), "test": slice(_HELD_OUT, 2 * _HELD_OUT)}
        part = held_out.get(name, slice(2 * _HELD_OUT, None))
        texts, labels = self._shuffled
        return Examples(texts[part], labels[part])

    @cached_property
    def _shuffled(self) -> tuple[list[str], list[int]]:
        unique: dict[str, int] = {}
        for number, line in enumerate(HEADLINES.read().decode().splitlines(), start=1):
            sample = json.loads(line)
            text = sample["input"][-1]["content"].strip()
            label = int(sample["ideal"])
            if unique.setdefault(text, label) != label:
                raise StudyError(f"data 'sarcasm': line {number} contradicts an earlier one: {text!r}")
        pairs = list(unique.items())
        random.Random(_SPLIT_SEED).shuffle(pairs)
        return [text for text, _ in pairs], [label for _, label in pairs]

"""The reference pages of Python's own help, as text to model: what ``help("for")`` shows.

They come with every Python, so there is nothing to download; and they differ between versions of Python, so figures
compare within one. Any language model of these years has seen them: it starts from a low loss.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cached_property

from lrlora.studies.tasks.task import SPLITS, Documents, Task

_HELD_OUT = {0: "test", 1: "validation"}
"""By the last decimal digit of a topic's hash, so that topics keep their splits when a Python brings new ones."""


class Reference(Task):
    """How well is the text of the language reference foretold? About 373,000 characters on 79 topics in Python 3.11.

    A topic is in one split only. Topics quote each other, so of paragraphs that occur in several the first is kept:
    in the test split, else in the validation split.
    """

    kind = "language-modelling"

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Nothing: Python has them."""

    @property
    def labels(self) -> tuple[str, ...]:
        """None."""
        return ()

    def split(self, name: str) -> Documents:
        """The topics of a split, in the order of their names."""
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Documents]:
        from pydoc_data.topics import topics  # type: ignore[import-untyped,unused-ignore]

        texts: dict[str, list[str]] = {split: [] for split in SPLITS}
        seen: set[str] = set()
        for split in ("test", "validation", "train"):
            for topic in sorted(topics):
                if _split_of(topic) == split and (text := unseen_paragraphs(topics[topic], seen)):
                    texts[split].append(text)
        return {split: Documents(found) for split, found in texts.items()}


def unseen_paragraphs(text: str, seen: set[str]) -> str:
    """The paragraphs of a text that are not in ``seen``, which they join. White space does not tell them apart."""
    kept = []
    for paragraph in paragraphs_of(text):
        words = " ".join(paragraph.split())
        if words and words not in seen:
            seen.add(words)
            kept.append(paragraph)
    return "\n\n".join(kept)


def paragraphs_of(text: str) -> list[str]:
    """What stands between blank lines."""
    return re.split(r"\n(?:[ \t]*\n)+", text)


def _split_of(topic: str) -> str:
    return _HELD_OUT.get(int(hashlib.sha256(topic.encode()).hexdigest(), 16) % 10, "train")

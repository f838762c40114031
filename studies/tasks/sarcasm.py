"""28,614 news headlines, sarcastic (The Onion) or not (HuffPost): Misra and Arora 2019, as packaged in OpenAI evals."""

from __future__ import annotations

from lrlora.studies.tasks.evals_wheel import EvalsTask, evals_member

HEADLINES = evals_member("sarcasm")


class Sarcasm(EvalsTask):
    """Is this headline sarcastic? 22,498 headlines to train on, 3,000 each to validate and to test.

    116 of the 28,614 headlines are repetitions ("sunday roundup"); each is kept once, so that none is in two splits.
    """

    data = HEADLINES
    about = "headlines"
    held_out = 3000

    @property
    def labels(self) -> tuple[str, ...]:
        """``("plain", "sarcastic")``."""
        return ("plain", "sarcastic")

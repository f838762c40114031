"""Runs that learnt nothing: a difference to one of them says that a side did not train, and not which is better."""

from __future__ import annotations

from math import sqrt

from lrlora.studies.report.source import Record, finite, metric_value

STANDARD_ERRORS = 2
"""How far above chance an accuracy may lie and still be taken for it."""


def at_chance(record: Record) -> bool:
    """Whether a finished cell that was trained is no more accurate than one who does not read the question.

    What is taken for chance ends at two standard errors above it, for as many test examples as the cell was given;
    where it was given the whole split, whose size a record does not tell, at chance itself.

    >>> cell = {"status": "finished", "method": "lora", "chance": 0.5, "training": {"test_examples": 100}}
    >>> [at_chance(cell | {"metrics": {"accuracy": found}}) for found in (0.55, 0.65)]
    [True, False]
    """
    chance, accuracy = finite(record.get("chance")), metric_value(record, "accuracy")
    if record.get("method") == "frozen" or chance is None or accuracy is None:
        return False
    examples = (record.get("training") or {}).get("test_examples")
    spread = sqrt(chance * (1 - chance) / examples) if examples else 0.0
    return accuracy <= chance + STANDARD_ERRORS * spread

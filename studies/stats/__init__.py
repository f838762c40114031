"""What follows from the runs of a study: paired tests, equivalence, trends, claims, and a summary; without I/O.

It needs no other part of a study than a pandas data frame with one row per run::

    runs = runs_frame(Results.load("runs/basis").records, ["accuracy", "step_seconds"])
    for found in compare(runs, [("sinc", "lora"), ("gaussian", "lora")], "accuracy"):
        print(found.of, found.difference.mean, found.difference.low, found.difference.high)
"""

from __future__ import annotations

from lrlora.studies.stats.comparisons import VariantComparison, compare
from lrlora.studies.stats.crossed import mean_difference
from lrlora.studies.stats.outcomes import OUTCOMES, Outcome, Question
from lrlora.studies.stats.paired import Estimate, PairedDifference, estimate, holm, paired_difference
from lrlora.studies.stats.runs import runs_frame
from lrlora.studies.stats.summary import StudySummary, VariantSummary, summarise
from lrlora.studies.stats.verdicts import ClaimVerdict, examine

__all__ = [
    "OUTCOMES",
    "ClaimVerdict",
    "Estimate",
    "Outcome",
    "PairedDifference",
    "Question",
    "StudySummary",
    "VariantComparison",
    "VariantSummary",
    "compare",
    "estimate",
    "examine",
    "holm",
    "mean_difference",
    "paired_difference",
    "runs_frame",
    "summarise",
]

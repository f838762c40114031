"""What stands in a list of claims: the published figure, ours, and a command that gives it again."""

from __future__ import annotations

from typing import Any

from lrlora.studies.report.claim_list import COLUMNS, cells, markdown, tally
from lrlora.studies.spec.study import Study

ROW: dict[str, Any] = {
    "study": "base-rank",
    "budget": "quick",
    "where": "sarcasm, minilm",
    "cells": "30 of 30",
    "claim": "The gain shrinks | as r grows",
    "paper": [5.3, 2.7],
    "published": "+5.3, +2.7",
    "source": "Table 12",
    "here": "−0.50 [−1.25, +0.25] points",
    "mean": -0.5,
    "low": -1.25,
    "high": 0.25,
    "unit": "points",
    "pairs": 3,
    "p": 0.04,
    "outcome": "undecided",
    "verdict": "undecided",
    "command": "lrlora study run base-rank --budget quick",
}


def test_a_claim_stands_beside_the_published_figure() -> None:
    found = dict(zip(COLUMNS, cells(ROW), strict=True))
    assert found["Paper"] == "+5.3, +2.7 (Table 12)"
    assert found["Here [95 %]"] == "−0.50 [−1.25, +0.25] points"
    assert (found["Pairs"], found["Verdict"]) == ("3", "undecided")


def test_the_markdown_keeps_its_columns_and_names_each_run_once() -> None:
    lines = markdown(
        [ROW, ROW | {"verdict": "supported, but smaller than published", "outcome": "supported"}, ROW]
    ).splitlines()
    bars = {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}
    assert bars == {len(COLUMNS) + 1}
    assert "3 claims: 2 undecided, 1 supported. Run again with:" in lines
    assert [line for line in lines if line.startswith("- ")] == [
        "- base-rank on sarcasm, minilm (30 of 30 cells): `lrlora study run base-rank --budget quick`"
    ]
    assert tally([ROW]) == "1 claim: 1 undecided"


def test_what_was_laid_over_a_study_is_known_after_its_budget() -> None:
    study = Study.load("basis", ["bases=[sinc]", "training.learning_rate=1e-3"]).resolve("smoke")
    assert study.given_as == {
        "source": "basis",
        "overrides": {"axes.basis": ["sinc"], "training.learning_rate": 0.001},
    }

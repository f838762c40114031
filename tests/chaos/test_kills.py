"""The short form of the chaos runner: ten blows at random moments, and a record as undisturbed."""

from __future__ import annotations

import sys
from pathlib import Path

import monkey
import pytest

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(sys.platform != "linux", reason="forks this process"),
]


def test_a_study_that_is_hit_ten_times_is_recorded_as_undisturbed(tmp_path: Path) -> None:
    said: list[str] = []
    tally = monkey.Monkey(tmp_path, kills=10, cells=24, each=10, seed=1, say=said.append).go()
    assert tally.wrong == [], tally.wrong
    assert tally.kills >= 10
    assert tally.studies == len(said)

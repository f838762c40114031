"""A study goes on until its claims are decided: through interruptions, within its limits, and says what is open."""

from __future__ import annotations

import io
import json
from collections import Counter
from functools import partial
from pathlib import Path

import fakes
import pytest
from rich.console import Console

from lrlora.studies.cli.study_status import show_status
from lrlora.studies.errors import StudyError
from lrlora.studies.execution.deciding import UntilDecided
from lrlora.studies.record.results import Results
from lrlora.studies.record.sequential import SEQUENTIAL_FILE
from lrlora.studies.spec.study import Study
from lrlora.studies.stats.summary import summarise

# What MLflow's tables say of the future, when they are first made.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(300)]

CLAIMS = [{"says": "large", "of": "r=2", "paper": 3.0}, {"says": "noise", "of": "r=3", "paper": 3.0}]
TRAINED = partial(fakes.around, levels={"r=1": 0.8, "r=2": 0.84, "r=3": 0.8}, noise=0.004)


def study() -> Study:
    return fakes.study(3, seeds=(1, 2), claims=CLAIMS)


def runs_by_variant(results: Results) -> Counter[str]:
    return Counter(record["variant"] for record in results.records)


def test_seeds_are_added_where_a_claim_is_open(tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, said = tmp_path / "out", io.StringIO()
    first = fakes.drive(study(), out, store, TRAINED, until=UntilDecided(max_seeds=3))
    assert runs_by_variant(first) == {"r=1": 3, "r=2": 3, "r=3": 3}
    assert first.study.seeds == [1, 2, 1001]
    results = fakes.drive(study(), out, store, TRAINED, Console(file=said, width=300), until=UntilDecided(max_seeds=8))
    large, noise = summarise(results).paths
    assert large.state == "settled"
    assert noise.state != "open"
    counts, needed = runs_by_variant(results), noise.looks[-1].seeds
    assert counts["r=2"] == large.settled_after
    assert counts["r=2"] <= counts["r=3"] <= needed + 1, "a worker that is free begins the next look"
    assert "of 2 claims are settled" in said.getvalue()
    assert results.complete
    page = (results.report() / "index.html").read_text("utf-8")
    assert f"settled after {large.settled_after} seeds" in page
    assert "Seeds were added where claims were open" in page
    show_status(out, as_json=True)
    claims = json.loads(capsys.readouterr().out)["claims"]
    assert claims[0] == {"claim": "large", "state": f"settled after {large.settled_after} seeds"}
    before = fakes.trials(out)
    again = fakes.drive(study(), out, store, TRAINED, until=UntilDecided(max_seeds=8))
    assert (fakes.trials(out), len(again.records)) == (before, len(results.records)), "there is nothing more to run"


def test_no_cell_is_begun_when_the_time_is_up(tmp_path: Path, store: Path) -> None:
    out, said = tmp_path / "out", io.StringIO()
    chosen = UntilDecided(max_hours=1e-9)
    results = fakes.drive(study(), out, store, TRAINED, Console(file=said, width=300), until=chosen)
    assert results.records == []
    assert "the time is up after 1e-09 h: 0 of 2 claims are settled, 2 are open; their next looks need 9 cells" in (
        said.getvalue()
    )
    fakes.drive(study(), out, store, TRAINED, until=UntilDecided(max_seeds=3))
    spent = json.loads((out / SEQUENTIAL_FILE).read_text("utf-8"))
    assert spent["seconds"] > 0
    assert spent["seeds"] == [1, 2, 1001]


def test_limits_that_say_nothing_and_studies_without_claims_are_refused() -> None:
    with pytest.raises(StudyError, match="--max-seeds 2: a number from 3 to 20"):
        UntilDecided(max_seeds=2)
    with pytest.raises(StudyError, match="--max-hours 0: a number of hours above 0"):
        UntilDecided(max_hours=0)
    with pytest.raises(StudyError, match="study tiny: --until decided: it makes no claims"):
        UntilDecided().check(fakes.study(2))

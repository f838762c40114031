"""A store that goes away, before or after it does what it is asked, loses nothing and does nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import fakes
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import BaseStorage, InMemoryStorage
from sqlalchemy.exc import OperationalError

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.on_ray import _differences
from lrlora.studies.execution.patient_storage import with_patience
from lrlora.studies.execution.queue import CELL, CellQueue
from lrlora.studies.execution.worker import Order
from lrlora.studies.record import patience
from lrlora.studies.record.patience import Patience
from lrlora.studies.spec.cells import expand_cells

URL = "postgresql://me:secret@db/x"
AWAY = OperationalError("SELECT 1", None, Exception(f"cannot reach {URL}"))


def unreliable(fate: Callable[[], str]) -> BaseStorage:
    """A storage each call to which may fail ``before`` it does anything, or ``after``."""
    storage = InMemoryStorage()

    def call(method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        chosen = fate()
        if chosen == "before":
            raise AWAY
        found = method(*arguments, **named)
        if chosen == "after":
            raise AWAY
        return found

    for name in BaseStorage.__abstractmethods__:
        setattr(storage, name, partial(call, getattr(storage, name)))
    return storage


@given(st.data())
@settings(max_examples=40)
def test_each_cell_is_asked_for_once_and_told_once_whenever_the_store_goes_away(data: st.DataObject) -> None:
    fate = partial(data.draw, st.sampled_from(["", "", "", "before", "after"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience.time, "sleep", lambda seconds: None)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        cells = expand_cells(fakes.study(3))
        queue = CellQueue(with_patience(unreliable(fate), Patience(URL)), "tiny", "maximize", cells, {})
        asked = []
        while queue.waiting:
            cell, trial = queue.ask()
            asked.append(cell.id)
            queue.tell(trial, 0.5, "finished")
        assert asked == [cell.id for cell in cells]
        told = [trial for trial in queue.study.get_trials() if trial.state.name == "COMPLETE"]
        assert Counter(trial.user_attrs[CELL] for trial in told) == Counter(asked)
        assert not queue.study.get_trials(states=(optuna.trial.TrialState.WAITING, optuna.trial.TrialState.RUNNING))


def test_what_is_refused_is_raised_at_once_and_what_is_lost_is_said_in_one_line_and_not_waited_for_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    now = [0.0]
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: waits.append(seconds))
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0] + sum(waits))

    def fail(error: Exception) -> None:
        raise error

    lasting = Patience(URL, 60)
    with pytest.raises(ValueError, match="refused"):
        lasting(fail, ValueError("refused"))
    assert waits == []
    with pytest.raises(StudyError, match="did not answer for 60 s, run the same command again to go on") as lost:
        lasting(fail, AWAY)
    assert 45 < sum(waits) <= 60
    assert max(waits) == 10
    known = len(waits)
    with pytest.raises(StudyError):
        lasting(fail, AWAY)
    assert len(waits) == known
    assert "does not answer; trying again for 60 s" in caplog.text
    assert "secret" not in caplog.text + str(lost.value)


def test_a_machine_that_gives_other_numbers_is_told_from_the_drivers() -> None:
    (cell,) = expand_cells(fakes.study(1), threads=1)
    here: Any = Order(cell, *[None] * 2, 1, None, *[None] * 3)  # type: ignore[arg-type]
    assert _differences(here) == []
    cell.parts["torch"] = "1.0"
    assert _differences(here) == [f"torch (1.0, now {'.'.join(__import__('torch').__version__.split('.')[:2])})"]

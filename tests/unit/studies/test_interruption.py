"""Ctrl-C or SIGTERM while a result is being written: it is written whole, and the command ends all the same."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from lrlora.studies.execution.interruption import (
    check_interruption,
    interrupted_by_termination,
    postponed_interruption,
)


@pytest.fixture(autouse=True, params=[signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def number(request: pytest.FixtureRequest) -> Iterator[int]:
    """A signal that interrupts; a test runner in the background ignores Ctrl-C."""
    number: int = request.param
    before = signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
    with interrupted_by_termination():
        yield number
    signal.signal(number, before)


def test_what_is_begun_is_ended_and_the_interruption_heard_after(number: int) -> None:
    done = []

    def write() -> None:
        with postponed_interruption():
            signal.raise_signal(number)
            done.append("written")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert done == ["written"]


class Dropped:
    """Is interrupted when nothing can be raised."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


def test_an_interruption_that_python_drops_is_heard_at_the_next_check(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: None)
    check_interruption()
    Dropped(number)
    with pytest.raises(KeyboardInterrupt):
        check_interruption()
    with interrupted_by_termination():
        pass
    check_interruption()


def test_the_handler_is_put_back(number: int) -> None:
    before = signal.getsignal(number)
    with postponed_interruption():
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before


def test_an_error_within_is_the_one_that_is_seen() -> None:
    with pytest.raises(OSError, match="disk full"), postponed_interruption():
        raise OSError("disk full")


def test_a_thread_cannot_be_interrupted_and_goes_on() -> None:
    done = []

    def work() -> None:
        with postponed_interruption():
            done.append("written")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["written"]

"""Ctrl-C while a result is being written: it is written whole, and the command ends all the same."""

from __future__ import annotations

import signal
import threading

import pytest

from lrlora.studies.execution.interruption import postponed_interruption


def test_what_is_begun_is_ended_and_the_interruption_heard_after() -> None:
    done = []

    def write() -> None:
        with postponed_interruption():
            signal.raise_signal(signal.SIGINT)
            done.append("written")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert done == ["written"]


def test_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with postponed_interruption():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


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

"""Ctrl-C and SIGTERM, at a bad moment too."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def interrupted_by_termination() -> Iterator[None]:
    """Take SIGTERM, which schedulers and containers send before they kill, for an interruption.

    A handler that the process has set itself is left alone.

    Raises:
        KeyboardInterrupt: SIGTERM came.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def postponed_interruption() -> Iterator[None]:
    """Let the writing of a result end before an interruption is heard: it takes a second.

    Raises:
        KeyboardInterrupt: One came meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    # Signals that are ignored, or would end the process at once, stay as they are.
    before = {one: found for one in _SIGNALS if callable(found := signal.getsignal(one))}
    for one in before:
        signal.signal(one, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        for one, found in before.items():
            signal.signal(one, found)
    if heard:
        raise KeyboardInterrupt

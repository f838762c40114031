"""Ctrl-C and SIGTERM, at a bad moment too."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_DEFAULTS: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
_heard: list[int] = []
"""Signals that have come within :func:`interrupted_by_termination`."""


@contextlib.contextmanager
def interrupted_by_termination() -> Iterator[None]:
    """Take SIGTERM, which schedulers and containers send before they kill, for an interruption, as Ctrl-C is one.

    A handler that the process has set itself is left alone.

    Raises:
        KeyboardInterrupt: One of them came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [one for one, default in _DEFAULTS.items() if signal.getsignal(one) == default]
    for one in ours:
        signal.signal(one, _interrupt)
    try:
        yield
    finally:
        for one in ours:
            signal.signal(one, _DEFAULTS[one])
        _heard.clear()


def check_interruption() -> None:
    """Hear an interruption that was lost: Python drops what is raised within a destructor or a weak reference.

    Raises:
        KeyboardInterrupt: One came within :func:`interrupted_by_termination`.
    """
    if _heard:
        raise KeyboardInterrupt


def _interrupt(number: int, _: FrameType | None) -> None:
    _heard.append(number)
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

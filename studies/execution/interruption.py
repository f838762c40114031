"""Ctrl-C at a bad moment."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


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
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt

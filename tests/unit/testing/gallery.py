"""Things with one fault each, the check that finds it, and the words in which it says so."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from lrlora.testing import Check, ConformanceError, checks_of


class Fault(NamedTuple):
    """One fault.

    Attributes:
        make: Makes the thing that has it.
        check: The check that must find it.
        words: What its message must contain.
    """

    make: Callable[[], Any]
    check: str
    words: tuple[str, ...]

    def __repr__(self) -> str:
        return f"{getattr(self.make, '__name__', 'fault')}-{self.check}"


class Gallery(list[Fault]):
    """The faults of one kind of thing."""

    def found_by(self, check: str, *words: str) -> Callable[[type], type]:
        """Decorator: what this class makes is to be found by this check. May stand several times."""

        def add(faulty: type) -> type:
            self.append(Fault(faulty, check, words))
            return faulty

        return add


def only(thing: Any, name: str) -> Check:
    """The one check of this name."""
    return next(check for check in checks_of(thing) if check.name == name)


def assert_found(fault: Fault) -> None:
    """The check for the fault fails, in one line with the right words."""
    with pytest.raises(ConformanceError) as caught:
        only(fault.make(), fault.check)()
    assert_said(str(caught.value), fault.words)


def assert_said(message: str, words: tuple[str, ...]) -> None:
    """A message is one line that contains the words, and is the check's own: no exception came in its way."""
    assert all(one in message for one in words), message
    assert "\n" not in message
    assert len(message) < 400
    assert not re.match(r"\w+(Error|Warning): ", message)

"""The machinery of the conformance kit: small named checks, from one generator, behind a call and a pytest decorator.

A check is a function ``check_*`` of the thing it checks. It returns when the thing conforms, with a note where there is
a number to report, and raises :class:`ConformanceError` with one line when it does not: what is wrong, and at which
input. The checks of a kind of thing are registered on :func:`checks_of`, by the class of the thing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, singledispatch
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pytest
    import torch

Status = Literal["passed", "failed", "expected", "not applicable", "passed unexpectedly"]


class ConformanceError(AssertionError):
    """The thing does not conform; one line that says what is wrong and at which input."""


class NotApplicableError(Exception):
    """A check that asks nothing of this thing; the reason."""


@dataclass(frozen=True)
class Check:
    """One check of one thing.

    Attributes:
        name: ``check_shape``, for example.
        about: What it protects: the first line of the function's docstring.
        run: Runs it; returns a note, or None.
    """

    name: str
    about: str
    run: Callable[[], str | None]

    def __call__(self) -> str | None:
        """Run the check.

        Returns:
            What it has to report, or None.

        Raises:
            ConformanceError: The thing does not conform.
            NotApplicableError: Nothing is asked of this thing.
        """
        try:
            return self.run()
        except (ConformanceError, NotApplicableError):
            raise
        except Exception as error:  # a thing that raises where it should not has failed as well
            raise ConformanceError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error


@dataclass(frozen=True)
class Outcome:
    """How a check ended.

    Attributes:
        check: Its name.
        about: What it protects.
        status: ``"expected"`` is a failure that was announced; ``"passed unexpectedly"`` is an announced one that did
            not come, and counts as a failure, since the announcement is out of date.
        message: Why it failed or did not apply; the announced reason of one that was expected; the note of one that
            passed.
    """

    check: str
    about: str
    status: Status
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.status in ("passed", "expected", "not applicable")


@singledispatch
def checks_of(thing: Any) -> Iterator[Check]:
    """All checks of a thing, in the order in which their messages help most: the plain contract first.

    Raises:
        TypeError: There are none for things of this class.
    """
    if isinstance(thing, type):
        raise TypeError(f"there are no checks of the class {thing.__name__}: pass an instance, {thing.__name__}(...)")
    raise TypeError(
        f"there are no checks for a {type(thing).__name__}: pass a basis, a policy, an engine, a method or a task (the "
        "last two after importing lrlora.studies.testing)"
    )


def bind(functions: Sequence[Callable[..., str | None]], *arguments: Any) -> Iterator[Check]:
    """The checks that plain functions make, each called with the same arguments."""
    for function in functions:
        about = (function.__doc__ or "").strip().partition("\n")[0].strip()
        yield Check(function.__name__, about, partial(function, *arguments))


def one_line(error: Exception) -> str:
    """An exception for a message: its kind, and the first 160 characters of what it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def short(dtype: torch.dtype) -> str:
    """A dtype for a message: ``float32``."""
    return str(dtype).removeprefix("torch.")


def run_checks(
    thing: Any,
    expected_failures: Mapping[str, str] | None = None,
    listener: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run all checks of a thing and say how each ended.

    Args:
        thing: What :func:`checks_of` takes.
        expected_failures: Names of checks that will fail, each with the reason.
        listener: Told of every outcome as it comes.

    Raises:
        ValueError: An expected failure names no check.
    """
    expected = dict(expected_failures or {})
    checks = list(checks_of(thing))
    _check_names(expected, checks)
    outcomes = []
    for check in checks:
        outcome = _outcome(check, expected.get(check.name))
        outcomes.append(outcome)
        if listener is not None:
            listener(outcome)
    return outcomes


def require(outcomes: Sequence[Outcome], thing: Any) -> None:
    """Raise if anything is wrong.

    Raises:
        ConformanceError: With a line per failure.
    """
    wrong = [f"{one.check}: {one.message or one.status}" for one in outcomes if not one.ok]
    if wrong:
        raise ConformanceError("\n  ".join([f"{_called(thing)} fails {len(wrong)} of {len(outcomes)} checks", *wrong]))


def parametrize_with_checks(
    things: Sequence[Any], expected_failures: Callable[[Any], Mapping[str, str]] | None = None
) -> pytest.MarkDecorator:
    """A pytest decorator: the test gets every check of every thing as its argument ``check``, and calls it.

        @parametrize_with_checks([MyBasis()])
        def test_conforms(check):
            check()

    Args:
        things: What :func:`checks_of` takes.
        expected_failures: From a thing to the names of the checks that will fail, each with the reason. They are
            strict: one that passes fails the test.

    Raises:
        ImportError: pytest is not installed.
        ValueError: An expected failure names no check.
    """
    try:
        import pytest
    except ImportError as error:
        raise ImportError("parametrize_with_checks needs pytest: pip install 'lrlora[testing]'") from error

    found = []
    for thing in things:
        expected = dict(expected_failures(thing)) if expected_failures is not None else {}
        checks = list(checks_of(thing))
        _check_names(expected, checks)
        for check in checks:
            reason = expected.get(check.name)
            marks = [pytest.mark.xfail(reason=reason, strict=True, raises=ConformanceError)] if reason else []
            found.append(pytest.param(_Skipping(check), id=f"{_called(thing)}-{check.name}", marks=marks))
    return pytest.mark.parametrize("check", found)


@dataclass(frozen=True)
class _Skipping:
    """A check under pytest: what asks nothing of the thing is skipped, with the reason."""

    check: Check

    def __call__(self) -> None:
        import pytest

        try:
            self.check()
        except NotApplicableError as reason:
            pytest.skip(str(reason))


def _called(thing: Any) -> str:
    """What messages and tests call a thing: without an address in memory, which no two processes share."""
    shown = repr(thing)
    return f"{type(thing).__name__}()" if shown == object.__repr__(thing) else shown


def _outcome(check: Check, expected: str | None) -> Outcome:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # checks that ask for a warning catch it themselves
            note = check() or ""
    except NotApplicableError as reason:
        return Outcome(check.name, check.about, "not applicable", str(reason))
    except ConformanceError as failure:
        return Outcome(check.name, check.about, "failed" if expected is None else "expected", expected or str(failure))
    return Outcome(check.name, check.about, "passed" if expected is None else "passed unexpectedly", expected or note)


def _check_names(expected: Mapping[str, str], checks: Sequence[Check]) -> None:
    from lrlora.registry import UnknownNameError

    names = [check.name for check in checks]
    for name in expected:
        if name not in names:
            raise UnknownNameError("check", name, names)

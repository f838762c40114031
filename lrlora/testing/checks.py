"""Named checks of plugins: how each ends, one error for all that fail, and a pytest decorator.

A check is a function ``check_*`` of the thing it checks. It returns when the thing conforms, with a note where there is
a number to report, and raises :class:`ConformanceError` with one line when it does not. :func:`checks_of` finds the
checks of a thing by its class.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, singledispatch
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from lrlora.registry import UnknownNameError

if TYPE_CHECKING:
    import pytest

Status = Literal["passed", "failed", "expected", "not applicable", "passed unexpectedly"]


class ConformanceError(AssertionError):
    """The thing does not conform; one line that says what is wrong and at which input."""


class NotApplicableError(Exception):
    """The check does not apply to this thing; the reason."""


@dataclass(frozen=True)
class Check:
    """One check of one thing: its name, the first line of its docstring, and what runs it and may return a note."""

    name: str
    about: str
    run: Callable[[], str | None]

    def __call__(self) -> str | None:
        """Run the check without warnings, return its note, and restore global settings.

        Raises:
            ConformanceError: The thing does not conform, or raises an exception.
            NotApplicableError: The check does not apply.
        """
        with restored_state(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return self.run()
            except (ConformanceError, NotApplicableError):
                raise
            except Exception as error:
                raise ConformanceError(one_line(error)) from error


@dataclass(frozen=True)
class Outcome:
    """How a check ended, and why it failed or did not apply, the announced reason, or the note of one that passed.

    ``"expected"`` is a failure that was announced; ``"passed unexpectedly"`` is one that did not occur, and counts as a
    failure.
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
    """Return all checks of a thing, the plain contract first.

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
    """Make a check of each function, called with these arguments."""
    for function in functions:
        yield Check(function.__name__, first_line(function), partial(function, *arguments))


def first_line(function: Callable[..., Any]) -> str:
    """The first line of a docstring."""
    return (function.__doc__ or "").strip().partition("\n")[0]


def functions_of(namespace: Mapping[str, Any], prefix: str = "check_") -> tuple[Callable[..., Any], ...]:
    """The functions with this prefix that a module defines, in their order, from its ``vars``."""
    own = (value for name, value in namespace.items() if name.startswith(prefix))
    return tuple(one for one in own if getattr(one, "__module__", None) == namespace["__name__"])


def demand(holds: Any, message: str) -> None:
    """Raise :class:`ConformanceError` with the message unless something holds."""
    if not holds:
        raise ConformanceError(message)


def one_line(error: Exception) -> str:
    """An exception for a message: its class, and the first 160 characters of what it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def short(dtype: torch.dtype) -> str:
    """A dtype for a message: ``float32``."""
    return str(dtype).removeprefix("torch.")


def global_state() -> dict[str, Any]:
    """What a plugin must not change, by the names that messages use. Tensors are lists, so that states compare."""
    keys: Any = np.random.get_state()  # noqa: NPY002  # the generator that others use
    return {
        "the state of Python's random numbers": random.getstate(),
        "the state of NumPy's random numbers": (keys[0], keys[1].tolist(), *keys[2:]),
        "the state of PyTorch's random numbers": torch.get_rng_state().tolist(),
        "PyTorch's default dtype": torch.get_default_dtype(),
        "PyTorch's default device": torch.get_default_device(),
        "whether gradients are recorded": torch.is_grad_enabled(),
        "PyTorch's number of threads": torch.get_num_threads(),
        "whether algorithms are deterministic": torch.are_deterministic_algorithms_enabled(),
    }


@contextmanager
def restored_state() -> Iterator[None]:
    """Restore the states of random numbers, the default dtype and whether gradients are recorded."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    of_torch, dtype, gradients = torch.get_rng_state(), torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
        torch.set_rng_state(of_torch)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)


def run_checks(
    thing: Any,
    expected_failures: Mapping[str, str] | None = None,
    listener: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run all checks of a thing and return how each ended.

    Args:
        thing: What :func:`checks_of` takes.
        expected_failures: Names of checks that will fail, each with the reason.
        listener: Called with every outcome as it comes.

    Raises:
        UnknownNameError: An expected failure names no check.
    """
    expected = dict(expected_failures or {})
    outcomes = []
    for check in _known_checks(thing, expected):
        outcomes.append(_outcome(check, expected.get(check.name)))
        listener(outcomes[-1])
    return outcomes


def require(thing: Any, expected_failures: Mapping[str, str] | None = None) -> list[Outcome]:
    """Run all checks of a thing, as :func:`run_checks`, and raise if one fails.

    Raises:
        ConformanceError: With one line per failed check.
        UnknownNameError: An expected failure names no check.
    """
    outcomes = run_checks(thing, expected_failures)
    if wrong := [f"{one.check}: {one.message or one.status}" for one in outcomes if not one.ok]:
        raise ConformanceError("\n  ".join([f"{_called(thing)} fails {len(wrong)} of {len(outcomes)} checks", *wrong]))
    return outcomes


def parametrize_with_checks(
    things: Sequence[Any], expected_failures: Callable[[Any], Mapping[str, str]] = lambda thing: {}
) -> pytest.MarkDecorator:
    """A pytest decorator: the test gets every check of every thing as its argument ``check``, and calls it.

        @parametrize_with_checks([MyBasis()])
        def test_conforms(check):
            check()

    Args:
        things: What :func:`checks_of` takes.
        expected_failures: From a thing to the names of the checks that will fail, each with the reason. A check that
            passes all the same fails the test.

    Raises:
        ImportError: pytest is not installed.
        UnknownNameError: An expected failure names no check.
    """
    try:
        import pytest
    except ImportError as error:
        raise ImportError("parametrize_with_checks needs pytest: pip install 'lrlora[testing]'") from error

    def skipping(check: Check) -> None:
        try:
            check()
        except NotApplicableError as reason:
            pytest.skip(str(reason))

    found = []
    for thing in things:
        expected = dict(expected_failures(thing))
        for check in _known_checks(thing, expected):
            reason = expected.get(check.name)
            marks = [pytest.mark.xfail(reason=reason, strict=True, raises=ConformanceError)] if reason else []
            found.append(pytest.param(partial(skipping, check), id=f"{_called(thing)}-{check.name}", marks=marks))
    return pytest.mark.parametrize("check", found)


def _called(thing: Any) -> str:
    """What messages and tests call a thing: without an address in memory, which no two processes share."""
    shown = repr(thing)
    return f"{type(thing).__name__}()" if shown == object.__repr__(thing) else shown


def _outcome(check: Check, expected: str | None) -> Outcome:
    told = partial(Outcome, check.name, check.about)
    try:
        note = check() or ""
    except NotApplicableError as reason:
        return told("not applicable", str(reason))
    except ConformanceError as failure:
        return told("failed", str(failure)) if expected is None else told("expected", expected)
    return told("passed", note) if expected is None else told("passed unexpectedly", expected)


def _known_checks(thing: Any, expected: Mapping[str, str]) -> list[Check]:
    checks = list(checks_of(thing))
    names = [check.name for check in checks]
    if unknown := [name for name in expected if name not in names]:
        raise UnknownNameError("check", unknown[0], names)
    return checks

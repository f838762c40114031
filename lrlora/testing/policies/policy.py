"""What every policy has in common: it is a value that a spec writes down, and it changes nothing but its result."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrlora.registry import Registry, format_spec, parse_spec
from lrlora.testing.checks import (
    Check,
    ConformanceError,
    NotApplicableError,
    Outcome,
    require,
    run_checks,
)
from lrlora.testing.policies.adapters import check_adapter_survives_saving, seeded
from lrlora.testing.policies.tiny_models import TinyModel

Probe = Callable[[Any], dict[str, Any]]
"""Asks a policy of one kind all that it can be asked: what came back, by a description of the question."""


def check_written_down(policy: Any) -> None:
    """It is a frozen dataclass, and the spec that a saved adapter holds gives the same one back."""
    kind = type(policy)
    if not (is_dataclass(policy) and kind.__dataclass_params__.frozen):
        raise ConformanceError(f"{kind.__name__} is no frozen dataclass: its options could change, or not be saved")
    try:
        spec = format_spec("name", policy)
    except TypeError as error:
        raise ConformanceError(f"its options cannot be saved: {error}") from error
    again = kind(*parse_spec(spec)[1])
    if again != policy:
        raise ConformanceError(f"written down as {spec!r} it is read back as {again!r}, not {policy!r}")


def check_survives_saving(policy: Any, registry: Registry[Any], tiny: TinyModel) -> None:
    """An adapter with it trains, and says the same after it was saved and loaded under another seed."""
    if registry.name_of(policy) is None:
        raise NotApplicableError(f"{type(policy).__name__} has no name yet: @register it to save adapters with it")
    check_adapter_survives_saving(tiny, **{registry.kind: policy})  # the kind is what the config calls the field


def check_repeatable(policy: Any, probe: Probe) -> None:
    """The same seed gives the same answers, whatever was asked before and whatever the default dtype is."""
    with seeded(3):
        first = probe(policy)
    with seeded(4):
        probe(policy)
    with seeded(3):
        _same(first, probe(policy), "under the same seed of PyTorch")
    with seeded(3), _another_default_dtype():
        _same(first, probe(policy), "where the default dtype is float16")


def check_disturbs_nothing(policy: Any, probe: Probe) -> None:
    """Being asked changes neither the policy, nor other generators, nor PyTorch's settings."""
    with seeded(5):
        random.seed(6)
        np.random.seed(6)  # noqa: NPY002  # the generator that others use
        torch.set_default_dtype(torch.float32)
        before, own = _global_state(), repr(policy)
        probe(policy)
        after = _global_state()
    if repr(policy) != own:
        raise ConformanceError(f"it was {own} and is {policy!r} after being asked")
    for name, state in before.items():
        if state != after[name]:
            raise ConformanceError(f"being asked changes {name}")


def policy_checks(
    policy: Any, registry: Registry[Any], probe: Probe, tiny: TinyModel, own: Sequence[Callable[[Any], None]]
) -> Iterator[Check]:
    """The checks of one kind: those of its own answers, and those that all policies share.

    Args:
        policy: What is checked.
        registry: Of its kind.
        probe: Asks a policy of this kind all that it can be asked.
        tiny: The model that an adapter is made on.
        own: The kind's own checks, the plain contract first.
    """
    for check in (*own, check_written_down):
        yield _restoring(check, policy)
    for asking in (check_repeatable, check_disturbs_nothing):
        yield _restoring(asking, policy, probe)
    yield _restoring(check_survives_saving, policy, registry, tiny)


def _restoring(check: Callable[..., None], *arguments: Any) -> Check:
    """A check after which the settings are what they were, whatever a faulty policy did to them."""

    def run() -> None:
        numbers, more = random.getstate(), np.random.get_state()  # noqa: NPY002
        dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
        try:
            check(*arguments)
        finally:
            random.setstate(numbers)
            np.random.set_state(more)  # noqa: NPY002
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(gradients)

    return Check(check.__name__, first_line(check), run)


def first_line(function: Callable[..., Any]) -> str:
    """What a check says that it protects."""
    return (function.__doc__ or "").strip().partition("\n")[0].strip()


def require_conforming(
    registry: Registry[Any], policy: Any, expected_failures: Mapping[str, str] | None
) -> list[Outcome]:
    """Run all checks of a policy that is given by name, spec or instance.

    Raises:
        ConformanceError: With a line per failure.
    """
    made = registry.create(policy)
    outcomes = run_checks(made, expected_failures)
    require(outcomes, made)
    return outcomes


def _global_state() -> dict[str, Any]:
    keys = np.random.get_state()  # noqa: NPY002  # the generator that others use
    return {
        "the state of Python's random numbers": random.getstate(),
        "the state of NumPy's random numbers": (keys[0], keys[1].tobytes(), *keys[2:]),  # type: ignore[index]
        "PyTorch's default dtype": torch.get_default_dtype(),
        "PyTorch's default device": torch.get_default_device(),
        "whether gradients are recorded": torch.is_grad_enabled(),
        "PyTorch's number of threads": torch.get_num_threads(),
        "whether algorithms are deterministic": torch.are_deterministic_algorithms_enabled(),
    }


@contextmanager
def _another_default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _same(first: dict[str, Any], second: dict[str, Any], when: str) -> None:
    for question, answer in first.items():
        other = second[question]
        if isinstance(answer, Tensor):
            same = isinstance(other, Tensor) and answer.dtype == other.dtype and torch.equal(answer, other)
        else:
            same = bool(answer == other)
        if not same:
            raise ConformanceError(f"{question} answers differently {when}: {_short(answer)}, then {_short(other)}")


def _short(answer: Any) -> str:
    text = " ".join(str(answer.tolist() if isinstance(answer, Tensor) else answer).split())
    return text if len(text) <= 60 else f"{text[:57]}..."

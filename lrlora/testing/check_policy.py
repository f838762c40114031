"""The conformance of policies: grids, sharings, placements, initialisations and the other choices of an adapter.

Each kind has checks of what its policies return, in :mod:`lrlora.testing.policy_checks`. What all have in common is
checked in the same way for all: a spec writes a policy down, asking it is repeatable and changes nothing else, and an
adapter with it survives saving.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lrlora.testing.policy_checks as own
from lrlora.policies import (
    AMPLITUDES,
    BANDWIDTHS,
    GRIDS,
    INPUT_SCALES,
    LAYER_CHOICES,
    PLACEMENTS,
    POSITIVE_MAPS,
    RANKS,
    SCOPES,
    SHARINGS,
    AmplitudeInit,
    BandwidthInit,
    Grid,
    InputScale,
    LayerChoice,
    Placement,
    PositiveMap,
    RankAllocation,
    Scope,
    Sharing,
    resolve_target_modules,
)
from lrlora.policies.roles import ROLES
from lrlora.registry import Registry, format_spec, parse_spec
from lrlora.testing.checks import (
    Check,
    ConformanceError,
    NotApplicableError,
    Outcome,
    bind,
    checks_of,
    require,
    run_checks,
)
from lrlora.testing.policy_checks import base_model
from lrlora.testing.tiny_models import TinyModel, adapted, adapter_config, saved_and_loaded, seeded, train

PLAIN, BLOCKS = TinyModel("linear", layers=2), TinyModel("llama", layers=2)
Expected = Mapping[str, str] | None


def check_policy(kind: str, policy: Any, expected_failures: Expected = None) -> list[Outcome]:
    """Run all checks of a policy.

    Args:
        kind: The field of :class:`lrlora.LRLoraConfig` that takes it.
        policy: Its name, its spec, or itself.
        expected_failures: Names of checks that will fail, each with the reason. One that passes is a failure.

    Returns:
        How each check ended.

    Raises:
        ConformanceError: With one line per failed check.
        UnknownNameError: No policy of the kind, or no check, has this name.
    """
    made = next(one.registry for one in KINDS if one.registry.kind == kind).create(policy)
    outcomes = run_checks(made, expected_failures)
    require(outcomes, made)
    return outcomes


def check_grid(grid: str | Grid, expected_failures: Expected = None) -> list[Outcome]:
    """Run all checks of a grid; see :func:`check_policy`."""
    return check_policy("grid", grid, expected_failures)


def check_sharing(sharing: str | Sharing, expected_failures: Expected = None) -> list[Outcome]:
    """Run all checks of a sharing; see :func:`check_policy`."""
    return check_policy("sharing", sharing, expected_failures)


def check_sharing_scope(scope: str | Scope, expected_failures: Expected = None) -> list[Outcome]:
    """Run all checks of a scope of sharing; see :func:`check_policy`."""
    return check_policy("sharing_scope", scope, expected_failures)


def check_placement(placement: str | Placement, expected_failures: Expected = None) -> list[Outcome]:
    """Run all checks of a placement; see :func:`check_policy`."""
    return check_policy("placement", placement, expected_failures)


def check_layer_choice(layers: str | LayerChoice, expected_failures: Expected = None) -> list[Outcome]:
    """Run all checks of a choice of layers; see :func:`check_policy`."""
    return check_policy("layers", layers, expected_failures)


def check_rank_allocation(allocation: str | RankAllocation, expected_failures: Expected = None) -> list[Outcome]:
    """Run all checks of a rank allocation; see :func:`check_policy`."""
    return check_policy("rank_allocation", allocation, expected_failures)


def check_amplitude_init(init: str | AmplitudeInit, expected_failures: Expected = None) -> list[Outcome]:
    """Run all checks of an initialisation of the amplitudes; see :func:`check_policy`."""
    return check_policy("amplitude_init", init, expected_failures)


def check_bandwidth_init(init: str | BandwidthInit, expected_failures: Expected = None) -> list[Outcome]:
    """Run all checks of an initialisation of the bandwidths; see :func:`check_policy`."""
    return check_policy("bandwidth_init", init, expected_failures)


def check_positive_map(positive: str | PositiveMap, expected_failures: Expected = None) -> list[Outcome]:
    """Run all checks of a positive map; see :func:`check_policy`."""
    return check_policy("bandwidth_parameterization", positive, expected_failures)


def check_input_scale(scale: str | InputScale, expected_failures: Expected = None) -> list[Outcome]:
    """Run all checks of an input scale; see :func:`check_policy`."""
    return check_policy("input_scale", scale, expected_failures)


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


def check_repeatable(policy: Any) -> None:
    """The same seed gives the same answers, whatever was asked before and whatever the default dtype is."""
    probe = _kind_of(policy).probe
    with seeded(3):
        first = probe(policy)
    with seeded(4):
        probe(policy)
    with seeded(3):
        _same(first, probe(policy), "under the same seed of PyTorch")
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        with seeded(3):
            _same(first, probe(policy), "where the default dtype is float16")
    finally:
        torch.set_default_dtype(default)


def check_disturbs_nothing(policy: Any) -> None:
    """Being asked changes neither the policy, nor other generators, nor PyTorch's settings."""
    with seeded(5):
        torch.set_default_dtype(torch.float32)
        before, own = _global_state(), repr(policy)
        _kind_of(policy).probe(policy)
        after = _global_state()
    if repr(policy) != own:
        raise ConformanceError(f"it was {own} and is {policy!r} after being asked")
    for name, state in before.items():
        if state != after[name]:
            raise ConformanceError(f"being asked changes {name}")


def check_survives_saving(policy: Any) -> None:
    """An adapter with it trains, and says the same after it was saved and loaded under another seed."""
    kind = _kind_of(policy)
    if kind.registry.name_of(policy) is None:
        raise NotApplicableError(f"{type(policy).__name__} has no name yet: @register it to save adapters with it")
    tiny = kind.tiny(policy)
    model = adapted(tiny, adapter_config(tiny, **{kind.registry.kind: policy}))  # the config calls the field so
    with seeded(2):
        train(tiny, model)
    before = tiny.output(model).detach()
    after = tiny.output(saved_and_loaded(tiny, model)).detach()
    if not before.isfinite().all():
        raise ConformanceError(f"the output of {tiny} is not finite after two steps")
    if not torch.allclose(before, after, rtol=1e-5, atol=1e-6):
        apart = float((before - after).abs().max())
        raise ConformanceError(f"the output of {tiny} is {apart:.2g} off after its adapter was saved and loaded")


@dataclass(frozen=True)
class Kind:
    """How policies of one kind are checked.

    Attributes:
        base: Their class.
        registry: Their registry.
        probe: Asks a policy all that it can be asked: what came back, by a description of the question.
        own: The checks of this kind alone, the plain contract first.
        tiny: The model on which an adapter with a policy is trained.
    """

    base: type
    registry: Registry[Any]
    probe: Callable[[Any], dict[str, Any]]
    own: tuple[Callable[[Any], None], ...]
    tiny: Callable[[Any], TinyModel] = lambda policy: PLAIN


def _placed(placement: Placement) -> TinyModel:
    """A model with a module of one of the roles: the fused one has no q, and others no qkv."""
    for kind in ("llama", "gpt2"):
        with suppress(ValueError):
            resolve_target_modules(base_model(kind), placement)
            return TinyModel(kind, layers=2)
    return BLOCKS


def _deep_enough(choice: LayerChoice) -> TinyModel:
    """The smallest model of which it chooses a layer."""
    return TinyModel("llama", layers=next(n for n in range(2, 25) if any(choice.has(i, n) for i in range(n))))


def _ask_positive_map(asked: PositiveMap) -> dict[str, Any]:
    raw, omega = torch.linspace(-3, 3, 7, dtype=torch.float64), torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    return {"forward": asked.forward(raw), "inverse": asked.inverse(omega)}


def _ask_ranks(asked: RankAllocation) -> dict[str, Any]:
    each = ((r, role, depth, 12) for r in (1, 8) for role in ROLES for depth in range(12))
    return {f"rank{one}": asked.rank(*one) for one in each}


KINDS = (
    Kind(
        Grid,
        GRIDS,
        lambda asked: {f"points({n}, {b})": asked.points(n, b) for n in own.NUMBERS for b in own.BOUNDS},
        (own.check_points, own.check_scales_with_the_bound),
    ),
    Kind(Sharing, SHARINGS, lambda asked: {"names": asked.names}, (own.check_parts,), lambda sharing: BLOCKS),
    Kind(
        Scope,
        SCOPES,
        lambda asked: {f"group({name!r})": asked.group(name) for name in own.MODULES},
        (own.check_groups,),
        lambda scope: BLOCKS,
    ),
    Kind(Placement, PLACEMENTS, lambda asked: {"names": asked.names}, (own.check_roles, own.check_resolves), _placed),
    Kind(
        LayerChoice,
        LAYER_CHOICES,
        lambda asked: {f"has({i}, {n})": asked.has(i, n) for n in (1, 2, 7, 24) for i in range(n)},
        (own.check_choice,),
        _deep_enough,
    ),
    Kind(RankAllocation, RANKS, _ask_ranks, (own.check_ranks,), lambda allocation: BLOCKS),
    Kind(
        AmplitudeInit,
        AMPLITUDES,
        lambda asked: {f"values({where})": own.amplitudes(asked, start) for where, start in own.starts()},
        (own.check_amplitudes,),
    ),
    Kind(
        BandwidthInit,
        BANDWIDTHS,
        lambda asked: {f"value({depth})": asked.value(depth) for depth in own.DEPTHS},
        (own.check_bandwidths,),
    ),
    Kind(PositiveMap, POSITIVE_MAPS, _ask_positive_map, (own.check_positive, own.check_bijection, own.check_smooth)),
    Kind(
        InputScale,
        INPUT_SCALES,
        lambda asked: {f"value{size}": asked.value(*size) for size in own.SIZES},
        (own.check_scales,),
    ),
)
"""The kinds of policies."""


def _kind_of(policy: Any) -> Kind:
    return next(kind for kind in KINDS if isinstance(policy, kind.base))


def _checks(policy: Any) -> Iterator[Check]:
    shared = (check_written_down, check_repeatable, check_disturbs_nothing, check_survives_saving)
    for check in bind((*_kind_of(policy).own, *shared), policy):
        yield replace(check, run=partial(_restoring, check.run))


for _kind in KINDS:
    checks_of.register(_kind.base, _checks)


def _restoring(run: Callable[[], str | None]) -> str | None:
    """Run a check, after which the settings are what they were, whatever a faulty policy did to them."""
    numbers, more = random.getstate(), np.random.get_state()  # noqa: NPY002  # the generator that others use
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        return run()
    finally:
        random.setstate(numbers)
        np.random.set_state(more)  # noqa: NPY002
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)


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


def _same(first: dict[str, Any], second: dict[str, Any], when: str) -> None:
    for question, answer in first.items():
        other = second[question]
        if isinstance(answer, Tensor):
            same = isinstance(other, Tensor) and answer.dtype == other.dtype and torch.equal(answer, other)
        else:
            same = bool(answer == other)
        if not same:
            raise ConformanceError(f"{question} answers differently {when}: {_brief(answer)}, then {_brief(other)}")


def _brief(answer: Any) -> str:
    text = " ".join(str(answer.tolist() if isinstance(answer, Tensor) else answer).split())
    return text if len(text) <= 60 else f"{text[:57]}..."

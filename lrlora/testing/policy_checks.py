"""The checks of policies: grids, sharings, placements, initialisations and the other choices of an adapter.

Each kind has checks of what its policies return, for all that they can be asked. What all kinds have in common is
checked in the same way for all: a spec writes a policy down, asking it is repeatable and changes nothing else, and an
adapter with it survives saving.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrlora import policies as of
from lrlora.bases import BASES
from lrlora.policies.roles import ROLES
from lrlora.policies.sharing import PARTS
from lrlora.registry import format_spec, parse_spec
from lrlora.testing.checks import (
    Check,
    ConformanceError,
    NotApplicableError,
    bind,
    checks_of,
    demand,
    global_state,
    one_line,
    short,
)
from lrlora.testing.tiny_models import FAMILIES, TinyModel, adapted, adapter_config, saved_and_loaded, seeded, train

F64 = torch.float64
PLAIN, BLOCKS = TinyModel("linear", layers=2), TinyModel("llama", layers=2)
NUMBERS, BOUNDS, DEPTHS = (1, 2, 3, 7, 50, 512), (0.5, 3.0, 20.0), (0.0, 0.25, 0.5, 1.0)
MODULES = (
    *("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj", "decoder.block.0.layer.1.EncDecAttention.q"),
    *("classifier", "0"),
)
SIZES = ((1, 1, 1), (1, 4096, 8), (384, 1536, 1), (4096, 1, 64), (12288, 4096, 16))
"""Columns, rows and rank of adapted weights, the extremes among them."""


def ask(policy: Any, method: str, questions: Collection[tuple[Any, ...]]) -> Iterator[tuple[str, Any]]:
    """Call a method with each of the arguments: what was asked, for a message, and the answer."""
    for arguments in questions:
        yield f"{method}({', '.join(map(repr, arguments))})", getattr(policy, method)(*arguments)


# -- what each kind returns -------------------------------------------------------------------------------------------


def check_points(grid: of.Grid) -> None:
    """N increasing float64 numbers within the bound, on the CPU and without a gradient."""
    demand(isinstance(grid.learned, bool), f"learned is {grid.learned!r}, a {type(grid.learned).__name__} and no bool")
    for num, bound in product(NUMBERS, BOUNDS):
        where = f"points({num}, {bound})"
        with seeded():
            points = grid.points(num, bound)
        _demand_vector(points, num, where)
        for i, (one, other) in enumerate(zip(points.tolist(), points.tolist()[1:], strict=False)):
            demand(one < other, f"{where} does not increase: point {i} is {one:.6g}, point {i + 1} is {other:.6g}")
        largest = float(points.abs().max())
        demand(largest <= bound * (1 + 1e-12), f"{where} has a point at ±{largest:.6g}, outside of ±{bound}")


def check_scales_with_the_bound(grid: of.Grid) -> None:
    """A grid without options has only g to measure by: with twice the bound every point is at twice its place."""
    if fields(grid):  # type: ignore[arg-type]  # of a dataclass, as another check sees to
        raise NotApplicableError("it has options, which may be lengths in units of z")
    for num in NUMBERS:
        with seeded():
            once = grid.points(num, 3.0)
        with seeded():
            twice = grid.points(num, 6.0)
        i = int((2 * once - twice).abs().argmax())
        said = f"point {i} of {num} is at {once[i]:.6g} of ±3 and at {twice[i]:.6g} of ±6, and no option is a length"
        demand(torch.allclose(2 * once, twice, rtol=1e-9, atol=1e-12), said)


def check_parts(sharing: of.Sharing) -> None:
    """Its names are a set of parts of θ, and of nothing else."""
    _demand_names(sharing.names, PARTS, "part of θ", least=0)


def check_groups(scope: of.Scope) -> None:
    """The group of every module is a string."""
    for asked, group in ask(scope, "group", [(name,) for name in MODULES]):
        demand(isinstance(group, str), f"{asked} is {group!r}, a {type(group).__name__} and no str")


def check_roles(placement: of.Placement) -> None:
    """Its names are a set of roles, one at least, and of nothing else."""
    _demand_names(placement.names, ROLES, "role", least=1)


def check_resolves(placement: of.Placement) -> None:
    """One family at least has modules of its roles; in others the refusal is one line."""
    refusals = []
    for kind in FAMILIES:
        try:
            of.resolve_target_modules(_base_model(kind), placement)
        except ValueError as error:
            demand(str(error) and "\n" not in str(error), f"a refusal is one line, not {str(error)!r}")
            refusals.append(f"{kind}: {error}")
    demand(len(refusals) < len(FAMILIES), f"no family has modules of its roles: {refusals[:1]}")


def check_choice(choice: of.LayerChoice) -> None:
    """True or False for every layer of models of 1 to 24 layers, and True for one of up to 512."""
    layers = [(index, num) for num in (*range(1, 25), 64, 512) for index in range(num)]
    chosen = False
    for asked, has in ask(choice, "has", layers):
        demand(isinstance(has, bool), f"{asked} is {has!r}, a {type(has).__name__} and no bool")
        chosen |= has
    demand(chosen, "it chooses no layer of any model of up to 512 layers")


def check_ranks(allocation: of.RankAllocation) -> None:
    """A whole number of at least 1 for every r, role and depth; of no role, that or a ValueError of one line."""
    places = [(depth, layers) for layers in (1, 2, 3, 12, 40) for depth in range(layers)]
    for role, (depth, layers), r in product((*ROLES, None), places, range(1, 65)):
        where = f"rank(r={r}, role={role!r}, depth={depth}, num_layers={layers})"
        try:
            rank = allocation.rank(r, role, depth, layers)
        except Exception as error:
            if isinstance(error, ValueError) and role is None and str(error) and "\n" not in str(error):
                continue
            raise ConformanceError(f"{where} raises {one_line(error)}") from error
        whole = isinstance(rank, int) and not isinstance(rank, bool)
        if not (whole and rank >= 1):  # the message is not made for all that is right: there are 40,000
            said = "less than 1" if whole else f"a {type(rank).__name__} and no whole number"
            raise ConformanceError(f"{where} is {rank!r}, {said}")


def check_amplitudes(init: of.AmplitudeInit) -> None:
    """N finite float64 numbers, for every basis, number of points and depth; the grid and ω it is shown are kept."""
    for where, start in _starts():
        kept = {"grid": start.grid.clone(), "bandwidth": start.bandwidth.clone()}
        with seeded():
            _demand_vector(init.values(start), len(start.grid), where)
        for name, before in kept.items():
            demand(torch.equal(before, getattr(start, name)), f"{where} changes the {name} that it is shown")


def check_bandwidths(init: of.BandwidthInit) -> None:
    """A positive finite number at every depth, which float32 holds."""
    _demand_positive_numbers(ask(init, "value", [(depth,) for depth in DEPTHS]))


def check_positive(positive: of.PositiveMap) -> None:
    """Positive finite numbers of the same shape and dtype, for s from −80 to 80 in float32."""
    for dtype in (torch.float32, F64):
        for raw in (torch.linspace(-80, 80, 9, dtype=dtype), torch.zeros(2, 3, dtype=dtype)):
            made: Any = positive.forward(raw)
            kept = isinstance(made, Tensor) and made.shape == raw.shape and made.dtype == dtype
            demand(kept, f"forward does not keep the shape {tuple(raw.shape)} and {dtype}")
            for at, value in zip(raw.flatten().tolist(), made.flatten().tolist(), strict=True):
                said = f"forward({at:g}) is {value:g} in {short(dtype)}, no positive finite number"
                demand(0 < value < math.inf, said)


def check_bijection(positive: of.PositiveMap) -> None:
    """inverse undoes forward and forward undoes inverse, for ω from 1e-6 to 1e6."""
    raw, omega = torch.linspace(-20, 20, 401, dtype=F64), torch.logspace(-6, 6, 49, dtype=F64)
    for name, start, found in (
        ("forward(inverse(ω))", omega, positive.forward(positive.inverse(omega))),
        ("inverse(forward(s))", raw, positive.inverse(positive.forward(raw))),
    ):
        wrong = ~torch.isclose(found, start, rtol=1e-6, atol=1e-9)
        i = int(wrong.int().argmax())
        demand(not wrong.any(), f"{name} of {float(start[i]):.6g} is {float(found[i]):.6g}")


def check_smooth(positive: of.PositiveMap) -> None:
    """Its gradient is that of its values, at zero too, and finite for s from −80 to 80 in float32."""
    raw = torch.tensor([-3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0], dtype=F64, requires_grad=True)
    (gradient,) = torch.autograd.grad(positive.forward(raw).sum(), raw)
    slope = (positive.forward(raw + 1e-6) - positive.forward(raw - 1e-6)).detach() / 2e-6
    wrong = ~torch.isclose(gradient, slope, rtol=1e-5, atol=1e-7)
    at, one, other = (float(each[int(wrong.int().argmax())]) for each in (raw.detach(), gradient, slope))
    demand(not wrong.any(), f"at {at:g} the gradient is {one:.6g} and the slope {other:.6g}")
    far = torch.tensor([-80.0, 80.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(positive.forward(far).sum(), far)
    demand(gradient.isfinite().all(), f"the gradient at ±80 is {gradient.tolist()} in float32")


def check_scales(scale: of.InputScale) -> None:
    """A positive finite number for every size and rank."""
    _demand_positive_numbers(ask(scale, "value", SIZES))


def _starts() -> Iterator[tuple[str, of.Start]]:
    """What amplitudes are asked to start on: several bases, numbers of points and depths."""
    for basis, num, depth in product(("sinc", "polynomial", "bspline"), (1, 2, 7, 50), (0.0, 0.5, 1.0)):
        points = of.GRIDS.create("uniform").points(num, 3.0)
        start = of.Start(BASES.create(basis), points, torch.ones_like(points), 3.0, depth)
        yield f"values(basis {basis}, N = {num}, depth {depth})", start


@cache
def _base_model(kind: str) -> nn.Module:
    """A tiny model of two layers, which is read and never adapted."""
    return TinyModel(kind, layers=2).build()


def _demand_vector(values: Any, num: int, where: str) -> None:
    found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
    demand(found == (num,), f"{where} is {found}, not a tensor of shape ({num},)")
    right = values.dtype == F64 and values.device.type == "cpu"
    demand(right, f"{where} is of {values.dtype} on {values.device}, not of torch.float64 on cpu")
    demand(not values.requires_grad, f"{where} takes a gradient: the adapter decides what is trained")
    demand(values.isfinite().all(), f"{where} is not finite: entry {int((~values.isfinite()).int().argmax())}")


def _demand_names(names: Any, known: Collection[str], what: str, least: int) -> None:
    right = isinstance(names, (set, frozenset)) and len(names) >= least
    demand(right, f"names is {names!r}, not a set of at least {least}")
    for name in sorted(set(names) - set(known), key=str):
        raise ConformanceError(f"names holds {name!r}, which is no {what} (known: {', '.join(known)})")


def _demand_positive_numbers(answers: Iterator[tuple[str, Any]]) -> None:
    for asked, value in answers:
        demand(isinstance(value, float), f"{asked} is a {type(value).__name__}, not a float")
        demand(1e-30 < value < 1e30, f"{asked} is {value:g}, no positive finite number that float32 holds")


# -- what all kinds have in common ------------------------------------------------------------------------------------


def check_written_down(policy: Any) -> None:
    """It is a frozen dataclass, and the spec that a saved adapter holds gives the same one back."""
    kind: Any = type(policy)
    frozen = is_dataclass(policy) and kind.__dataclass_params__.frozen
    demand(frozen, f"{kind.__name__} is no frozen dataclass: its options could change, or not be saved")
    try:
        spec = format_spec("name", policy)
    except TypeError as error:
        raise ConformanceError(f"its options cannot be saved: {error}") from error
    again = kind(*parse_spec(spec)[1])
    demand(again == policy, f"written down as {spec!r} it is read back as {again!r}, not {policy!r}")


def check_repeatable(policy: Any) -> None:
    """The same seed gives the same answers, whatever was asked before and whatever the default dtype is."""
    answers = _kind_of(policy).answers
    with seeded(3):
        first = dict(answers(policy))
    with seeded(4):
        dict(answers(policy))
    for dtype, when in (
        (torch.float32, "under the same seed of PyTorch"),
        (torch.float16, "where the default dtype is float16"),
    ):
        torch.set_default_dtype(dtype)  # which every check restores
        with seeded(3):
            again = dict(answers(policy))
        for asked, answer in first.items():
            other = again[asked]
            if isinstance(answer, Tensor):
                same = isinstance(other, Tensor) and answer.dtype == other.dtype and torch.equal(answer, other)
            else:
                same = bool(answer == other)
            demand(same, f"{asked} answers differently {when}: {str(answer)[:60]!r}, then {str(other)[:60]!r}")


def check_disturbs_nothing(policy: Any) -> None:
    """Being asked changes neither the policy, nor other generators, nor PyTorch's settings."""
    torch.set_default_dtype(torch.float32)
    before, own = global_state(), repr(policy)
    dict(_kind_of(policy).answers(policy))
    after = global_state()
    demand(repr(policy) == own, f"it was {own} and is {policy!r} after being asked")
    for name, state in before.items():
        # A policy may draw from PyTorch's generator, which the adapter seeds.
        demand(state == after[name] or "PyTorch's random" in name, f"being asked changes {name}")


def check_survives_saving(policy: Any) -> None:
    """An adapter with it trains, and says the same after it was saved and loaded under another seed."""
    kind = _kind_of(policy)
    if kind.registry.name_of(policy) is None:
        raise NotApplicableError(f"{type(policy).__name__} has no name yet: @register it to save adapters with it")
    tiny = kind.tiny(policy)
    model = adapted(tiny, adapter_config(tiny, **{kind.registry.field: policy}))
    with seeded(2):
        train(tiny, model)
    before = tiny.output(model).detach()
    after = tiny.output(saved_and_loaded(tiny, model)).detach()
    demand(before.isfinite().all(), f"the output of {tiny} is not finite after two steps")
    apart = float((before - after).abs().max())
    same = torch.allclose(before, after, rtol=1e-5, atol=1e-6)
    demand(same, f"the output of {tiny} is {apart:.2g} off after its adapter was saved and loaded")


class Kind(NamedTuple):
    """How policies of one kind are checked.

    Attributes:
        registry: Of the kind.
        own: The checks of this kind alone, the plain contract first.
        answers: Asks a policy all that it can be asked: each question, for a message, and the answer.
        tiny: The model on which an adapter with a policy is trained.
    """

    registry: of.PolicyKind[Any]
    own: tuple[Callable[[Any], None], ...]
    answers: Callable[[Any], Iterator[tuple[str, Any]]]
    tiny: Callable[[Any], TinyModel] = lambda policy: PLAIN


def _placed(placement: of.Placement) -> TinyModel:
    """A model with a module of one of the roles: the fused one has no q, and others no qkv."""
    for kind in ("llama", "gpt2"):
        with suppress(ValueError):
            of.resolve_target_modules(_base_model(kind), placement)
            return TinyModel(kind, layers=2)
    return BLOCKS


def _deep_enough(choice: of.LayerChoice) -> TinyModel:
    """The smallest model of which it chooses a layer."""
    return TinyModel("llama", layers=next(n for n in range(2, 25) if any(choice.has(i, n) for i in range(n))))


def _blocks(policy: Any) -> TinyModel:
    return BLOCKS


def _names(policy: Any) -> Iterator[tuple[str, Any]]:
    yield "names", policy.names


def _map_values(positive: of.PositiveMap) -> Iterator[tuple[str, Any]]:
    yield "forward", positive.forward(torch.linspace(-3, 3, 7, dtype=F64))
    yield "inverse", positive.inverse(torch.tensor([0.5, 1.0, 4.0], dtype=F64))


def _start_values(init: of.AmplitudeInit) -> Iterator[tuple[str, Any]]:
    yield from ((asked, init.values(start)) for asked, start in _starts())


_points = partial(ask, method="points", questions=list(product(NUMBERS, BOUNDS)))
_groups = partial(ask, method="group", questions=[(name,) for name in MODULES])
_layers = partial(ask, method="has", questions=[(i, n) for n in (1, 2, 7, 24) for i in range(n)])
_ranks = partial(ask, method="rank", questions=list(product((1, 8), ROLES, range(12), (12,))))
_at_depths = partial(ask, method="value", questions=[(depth,) for depth in DEPTHS])
_of_sizes = partial(ask, method="value", questions=SIZES)

KINDS: dict[type, Kind] = {
    of.Grid: Kind(of.GRIDS, (check_points, check_scales_with_the_bound), _points),
    of.Sharing: Kind(of.SHARINGS, (check_parts,), _names, _blocks),
    of.Scope: Kind(of.SCOPES, (check_groups,), _groups, _blocks),
    of.Placement: Kind(of.PLACEMENTS, (check_roles, check_resolves), _names, _placed),
    of.LayerChoice: Kind(of.LAYER_CHOICES, (check_choice,), _layers, _deep_enough),
    of.RankAllocation: Kind(of.RANKS, (check_ranks,), _ranks, _blocks),
    of.AmplitudeInit: Kind(of.AMPLITUDES, (check_amplitudes,), _start_values),
    of.BandwidthInit: Kind(of.BANDWIDTHS, (check_bandwidths,), _at_depths),
    of.PositiveMap: Kind(of.POSITIVE_MAPS, (check_positive, check_bijection, check_smooth), _map_values),
    of.InputScale: Kind(of.INPUT_SCALES, (check_scales,), _of_sizes),
}
"""The kinds of policies, by their class."""


def _kind_of(policy: Any) -> Kind:
    return next(kind for base, kind in KINDS.items() if isinstance(policy, base))


def _checks(policy: Any) -> Iterator[Check]:
    shared = (check_written_down, check_repeatable, check_disturbs_nothing, check_survives_saving)
    return bind((*_kind_of(policy).own, *shared), policy)


for _base in KINDS:
    checks_of.register(_base, _checks)

"""The checks of an engine: values, gradients, plans, dtypes and devices.

Values are compared with :class:`~lrlora.engines.direct.DirectEngine`, gradients with difference quotients of the
engine's own forward pass under a fixed plan, and everything else with the engine itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lrlora.bases import BASES
from lrlora.engines import Engine
from lrlora.engines.direct import DirectEngine
from lrlora.testing.checks import (
    Check,
    ConformanceError,
    NotApplicableError,
    bind,
    checks_of,
    demand,
    functions_of,
    one_line,
    short,
)
from lrlora.testing.engine_layers import F32, F64, NAMES, PLAIN, Layer, Step, difference_quotients, normals, strided

EXAMPLES = 40
"""Layers that are drawn for the check of values."""
NEAR_DIRECT = 0.3
"""How far the gradients may be from those of the definition, relative, where ψ is smooth."""
SMOOTH = (("sinc", 0.3), ("gaussian", 2.0), ("fourier", 1.0), ("bspline", 2.0))
"""Bases, and max |s_in · BA|, at which gradients are compared with those of the definition."""
TINY = 1e-300


def check_values(engine: Any) -> str:
    """ΔW equals the definition within the engine's tolerance, over drawn bases, θ, ranges, ranks and shapes."""
    from hypothesis import Phase, given, settings
    from hypothesis import strategies as st

    from lrlora.testing.strategies import bases

    layers = st.builds(
        Layer,
        bases(),
        largest=st.sampled_from([0.0, 0.01, 0.3, 1.0, 3.0]),
        num=st.sampled_from([1, 6, 20]),
        input_scale=st.sampled_from([1.0, 200.0]),
        **{"r": st.integers(1, 5), "out": st.integers(1, 24), "inside": st.integers(1, 24)},
        **{"residual": st.booleans(), "centered": st.booleans(), "seed": st.integers(0, 99)},
    )
    errors: list[float] = []

    phases = [Phase.generate, Phase.shrink]

    @settings(max_examples=EXAMPLES, phases=phases, derandomize=True, database=None, deadline=None)
    @given(layers, st.sampled_from([F64, F32]))
    def claim(layer: Layer, dtype: torch.dtype) -> None:
        step = Step(engine, layer, [leaf.detach() for leaf in layer.leaves(dtype)])
        found = step.delta().double()
        exact, rounding = layer.definition(step.leaves)
        error, size = float((found - exact).norm()), float(exact.norm())
        # φ, of order one, may be zero or constant on the range but for rounding.
        rounding += (1e-12 if layer.centered else 1e-9) / layer.input_scale
        said = f"ΔW is {error / max(size, TINY):.1e} off, relative, where {engine.tolerance:g} is promised"
        demand(error <= engine.tolerance * size + 3 * rounding, f"{said}, for {layer} in {short(dtype)}")
        errors.append(max(0.0, error - 3 * rounding) / max(size, TINY))

    claim()
    return f"the largest relative error is {max(errors):.1e} over {len(errors)} layers"


def check_gradients(engine: Any) -> str:
    """Gradients are those of the engine's own forward pass under a fixed plan, in x, A, B, a, ω and z_i."""
    furthest = 0.0
    for name, largest in (*SMOOTH, ("piecewise_linear", 1.0)):
        layer = Layer(BASES.create(name), largest, num=4, out=5, inside=4, seed=len(name))
        step, incoming = Step(engine, layer, layer.leaves(tokens=3)).planned(), normals(9)(3, layer.out)
        loss = partial(_loss, incoming)
        quotients = difference_quotients(loss, step)
        said = "the difference quotient of the engine's own output under one plan"
        _demand_near(step.gradients(loss(step)), quotients, 1e-4, 1e-7 * float(incoming.norm()), said, layer)
        if name != "piecewise_linear":  # an entry next to a kink takes the slope of either side
            layer = replace(layer, num=20, out=24, inside=20)
            step, loss = Step(engine, layer, layer.leaves(tokens=32)).planned(), partial(_loss, normals(9)(32, 24))
            direct = replace(step, engine=DirectEngine(), plan=None)
            found, exact = (one.gradients(loss(one)) for one in (step, direct))
            said = f"that of the definition, where {NEAR_DIRECT:g} is the most"
            furthest = max(furthest, _demand_near(found, exact, NEAR_DIRECT, 0.0, said, layer))
    return f"gradients are within {furthest:.1e} of those of the definition, relative"


def check_dtypes(engine: Any) -> None:
    """Outputs have the dtype of x and are finite, for float32 and float64 factors; ΔW has that of the factors."""
    for factors in (F32, F64):
        step = Step(engine, PLAIN, PLAIN.leaves(factors)).planned()
        found = {f"delta for factors of {short(factors)}": (step.delta(), factors)}
        for dtype in (torch.bfloat16, torch.float16, factors):
            x, (weight, bias) = step.leaves[0].detach().to(dtype).requires_grad_(), PLAIN.base(dtype)
            here = step.at([x, *step.leaves[1:]])
            y = here.linear(weight, bias)
            for what, value in (
                ("linear", y),
                ("add_to", here.add_to(bias.expand(len(x), -1).clone())),
                ("the gradient of x", here.gradients(y.float().sum())[0]),
            ):
                found[f"{what} for x of {short(dtype)} and factors of {short(factors)}"] = value, dtype
        for what, (value, wanted) in found.items():
            demand(value.dtype == wanted, f"{what} is {short(value.dtype)}, not {short(wanted)}")
            demand(value.isfinite().all(), f"{what} is not finite")


def check_shapes(engine: Any) -> None:
    """x of one to three dimensions, empty x and ΔW, and strided tensors give what plain ones give; backward runs."""
    step = Step(engine, PLAIN, PLAIN.leaves()).planned()
    x, *rest = [leaf.detach() for leaf in step.leaves]
    plain = step.linear().detach()
    for what, at, wanted in (
        ("one-dimensional x", [x[2], *rest], plain[2]),
        ("three-dimensional x", [x.view(2, 3, -1), *rest], plain.view(2, 3, -1)),
        ("no tokens", [x[:0], *rest], plain[:0]),
        ("no tokens in three dimensions", [x[:0].unsqueeze(0), *rest], plain[:0].unsqueeze(0)),
        ("ΔW of no rows", [x, rest[0], rest[1][:0], *rest[2:]], plain[:, :0]),
        ("strided x and factors", [strided(one) for one in (x, *rest)], plain),
        ("x with a stride of zero", [x[:1].expand(4, -1), *rest], plain[:1].expand(4, -1)),
    ):
        here = step.at([one.detach().requires_grad_() for one in at])
        try:
            found = (here.planned() if what == "ΔW of no rows" else here).linear()
            gradients = here.gradients(found.sum())
        except (ValueError, IndexError, RuntimeError) as error:
            raise ConformanceError(f"{what}: {one_line(error)}") from error
        said = f"{what}: the output has the shape {tuple(found.shape)}, not {tuple(wanted.shape)}"
        demand(found.shape == wanted.shape, said)
        said = f"{what}: the output is {float((found - wanted).norm()):.1e} off that of plain x"
        demand(torch.allclose(found, wanted, rtol=1e-9, atol=1e-9), said)
        for symbol, gradient, leaf in zip(NAMES, gradients, here.leaves, strict=True):
            right = gradient.shape == leaf.shape and gradient.isfinite().all()
            demand(right, f"{what}: the gradient of {symbol} has another shape or is not finite")


def check_stale_plan(engine: Any) -> None:
    """A plan with growth 1.5 errs little when the range grows by that, never explodes, and a fresh one is right."""
    for name in ("sinc", "gaussian"):
        layer = Layer(BASES.create(name), largest=1.0)
        step = Step(engine, layer, layer.leaves()).planned(growth=1.5)
        if step.plan is None:
            raise NotApplicableError("makes no plan")
        for factor in (1.5, 1e3):
            grown = [leaf.detach() * (factor if i == 2 else 1) for i, leaf in enumerate(step.leaves)]
            here = step.at([leaf.requires_grad_() for leaf in grown])
            exact, _ = layer.definition(grown)
            stale, fresh = here.delta(), here.planned().delta().detach()
            times = float((stale.detach().abs() / layer.straight(step.leaves, grown)).max())
            off, fresh_off = (float((one.detach() - exact).norm() / exact.norm()) for one in (stale, fresh))
            finite = all(bool(one.isfinite().all()) for one in (stale, *here.gradients(stale.sum())))
            where, most = f"for {layer} with a range {factor:g} times that of the plan", 10 * engine.tolerance
            demand(factor != 1.5 or off <= most, f"ΔW is {off:.1e} off, relative, where {most:g} is the most, {where}")
            demand(finite, f"ΔW or a gradient is not finite {where}")
            demand(times <= 4, f"ΔW is {times:.1e} times what a straight continuation of φ gives {where}")
            demand(fresh_off <= engine.tolerance, f"ΔW of a fresh plan is {fresh_off:.1e} off, relative, {where}")


def check_not_finite(engine: Any) -> None:
    """A NaN or an infinite number in A, B, a or ω raises nothing, and shows wherever it does in the definition."""
    step = Step(engine, PLAIN, PLAIN.leaves()).planned()
    for value in (torch.nan, torch.inf):
        for which, symbol in enumerate(NAMES[1:5], 1):
            leaves = [leaf.detach().clone() for leaf in step.leaves]
            leaves[which].view(-1)[0] = value
            here = step.at([leaf.requires_grad_() for leaf in leaves])
            exact, _ = PLAIN.definition(leaves)
            for one, how in ((here, "a plan from before"), (replace(here, plan=None), "a plan of its own")):
                found = one.delta()
                said = f"an entry of ΔW is finite where the definition's is not, for {value} in {symbol} and {how}"
                demand(not (found.isfinite() & ~exact.isfinite()).any(), said)
                one.gradients(found.sum())


def check_linear(engine: Any) -> None:
    """``linear`` is x (W + ΔW)ᵀ + b and ``add_to`` is result + x ΔWᵀ, with ΔW from ``delta``, to the tolerance."""
    step = Step(engine, PLAIN, [leaf.detach() for leaf in PLAIN.leaves()]).planned()
    x, (weight, bias) = step.leaves[0], PLAIN.base()
    update = x @ step.delta().T
    result = normals(5)(len(x), PLAIN.out)
    for what, found, before in (
        ("linear", step.linear(weight, bias), x @ weight.T + bias),
        ("linear without a bias", step.linear(weight), x @ weight.T),
        ("linear without a weight", step.linear(), 0.0),
        ("add_to", step.add_to(result.clone()), result),
    ):
        error = float((found - before - update).norm() / update.norm())
        demand(error <= engine.tolerance, f"{what} is {error:.1e} of x ΔWᵀ off what `delta` says")


def check_deterministic(engine: Any) -> None:
    """The same inputs give the same output and the same gradients, to the bit, when planned and run again."""
    layer = replace(PLAIN, out=40, inside=30)

    def run() -> list[Tensor]:
        step = Step(engine, layer, layer.leaves(F32, tokens=64)).planned()
        y = step.linear(*layer.base(F32))
        return [y.detach(), *step.gradients(y.square().sum())]

    names = ("output", *(f"gradient of {name}" for name in NAMES))
    for what, one, other in zip(names, run(), run(), strict=True):
        said = f"the same inputs differ by {float((one - other).abs().max()):.1e} in the {what}"
        demand(torch.equal(one, other), said)


def check_inputs_unchanged(engine: Any) -> None:
    """No input is changed: neither by planning, nor by the forward pass, nor by the backward pass."""
    leaves, base = PLAIN.leaves(), PLAIN.base()
    result = torch.zeros(len(leaves[0]), PLAIN.out, dtype=F64)
    given = dict(zip((*NAMES, "weight", "bias", "result"), (*leaves, *base, result), strict=True))
    before = {name: (one.detach().clone(), one._version) for name, one in given.items()}
    step = Step(engine, PLAIN, leaves).planned()
    for y in (step.delta(), step.linear(*base), step.add_to(result)):
        step.gradients(y.sum())
    for name, (value, version) in before.items():
        same = given[name]._version == version and torch.equal(given[name].detach(), value)
        demand(same, f"changes its input `{name}` in place")


def check_modes(engine: Any) -> None:
    """Works under ``no_grad``, ``inference_mode`` and ``autocast``, with the same values up to the dtype."""
    base = PLAIN.base(F32)
    step = Step(engine, PLAIN, PLAIN.leaves(F32)).planned()
    plain = step.linear(*base).detach()
    for name, mode, allowed in (
        ("no_grad", torch.no_grad, 1e-5),
        ("inference_mode", torch.inference_mode, 1e-5),
        ("autocast to bfloat16", partial(torch.autocast, "cpu", torch.bfloat16), 3e-2),
    ):
        for replan in (False, True):
            with mode():
                found = (step.planned() if replan else step).linear(*base)
                error = float((found.detach().float() - plain).norm() / plain.norm())
                recorded = found.requires_grad
            demand(error <= allowed, f"under {name} the output is {error:.1e} off that without it")
            said = f"under {name} the output {'requires a' if recorded else 'has no'} gradient"
            demand(recorded == name.startswith("autocast"), said)
    step.gradients(found.float().sum())


def check_no_synchronization(engine: Any) -> None:
    """Between plans a step reads no value: with a plan, forward and backward run on the device "meta"."""
    planned = Step(engine, PLAIN, PLAIN.leaves(F32)).planned()
    plan = None if planned.plan is None else planned.plan.to(torch.device("meta"))
    step = Step(engine, PLAIN, [leaf.detach().to("meta").requires_grad_() for leaf in planned.leaves], plan)
    try:
        y = step.linear(*(one.to("meta") for one in PLAIN.base(F32)))
        for one in (y, step.add_to(torch.zeros_like(y, requires_grad=False))):
            devices = {found.device.type for found in (one, *step.gradients(one.sum()))}
            demand(devices == {"meta"}, "the output or a gradient is not on the device of its inputs")
    except (RuntimeError, NotImplementedError) as error:
        raise ConformanceError(
            f"a step reads a value, or makes a tensor on another device than that of its inputs ({one_line(error)})"
        ) from error


def _loss(incoming: Tensor, step: Step) -> Tensor:
    return (step.linear() * incoming).sum()


def _demand_near(found: Any, wanted: Any, relative: float, absolute: float, what: str, layer: Layer) -> float:
    """Compare the gradients of the leaves; return their largest relative distance."""
    largest = 0.0
    for symbol, one, other in zip(NAMES, found, wanted, strict=True):
        error, size = float((one - other).norm()), float(other.norm())
        largest = max(largest, error / max(size, TINY))
        said = f"the gradient of {symbol} is {error / max(size, TINY):.1e} off, relative, {what}, for {layer}"
        demand(error <= relative * size + absolute, said)
    return largest


CHECKS = functions_of(vars())
"""The checks of an engine, in the order in which their messages help most."""


@checks_of.register
def _(engine: Engine) -> Iterator[Check]:
    import lrlora.testing.strategies  # noqa: F401  # says in one line how to get hypothesis

    return bind(CHECKS, engine)

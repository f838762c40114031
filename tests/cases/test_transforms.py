"""Transforms of functions: per-sample gradients, second derivatives (Laplace #144, opacus #372).

Each is right, or refused by one line that names ``engine="direct"``, which is plain differentiable PyTorch and does all
of them. Expected values are computed without the transform: a sample at a time, or by differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel
from small import adapted, llama, off, rows, trained
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

# Torch's own rules for forward mode are scripted.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

Parameters = dict[str, Tensor]
X = rows(3).double()
CASES: list[dict[str, Any]] = [{}, {"basis": "gaussian", "grid": "learned"}, {"basis": "piecewise_linear"}]


def model_of(engine: str, **fields: Any) -> PeftModel:
    return adapted(engine=engine, **fields).double()


def parameters_of(model: PeftModel) -> Parameters:
    return {name: p.detach().clone() for name, p in trained(model).items()}


def loss_of(model: PeftModel) -> Callable[[Parameters, Tensor], Tensor]:
    def loss(parameters: Parameters, x: Tensor) -> Tensor:
        return functional_call(model, parameters, (x,)).square().sum()

    return loss


def right_or_refused(
    compute: Callable[[PeftModel], Parameters],
    expected: Parameters,
    engine: str,
    tolerance: float = 1e-6,
    **fields: Any,
) -> None:
    """Compares each tensor by itself: zeros in one of four are an error."""
    model = model_of(engine, **fields)
    if engine == "direct":
        found = compute(model)
    else:
        tolerance = max(tolerance, 0.05)  # the engine's is 2e-3 on ΔW
        try:
            found = compute(model)
        except (RuntimeError, ValueError, NotImplementedError) as refusal:
            message = str(refusal)
            assert "engine='direct'" in message or 'engine="direct"' in message, message
            assert "\n" not in message.strip()
            return
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        size = value.norm()
        assert off(found[name], value) < tolerance or (found[name] - value).norm() < 1e-3 * size + 1e-9, name


def each_engine(test: Callable[..., None]) -> Callable[..., None]:
    fields = pytest.mark.parametrize("fields", CASES, ids=str)
    return pytest.mark.parametrize("engine", ["direct", "auto"])(fields(test))


@each_engine
def test_gradients_of_each_sample(engine: str, fields: dict[str, Any]) -> None:
    plain = model_of("direct", **fields)
    expected: dict[str, list[Tensor]] = {name: [] for name in trained(plain)}
    for x in X:
        found = torch.autograd.grad(plain(x[None]).square().sum(), list(trained(plain).values()))
        for name, value in zip(expected, found, strict=True):
            expected[name].append(value)

    def compute(model: PeftModel) -> Parameters:
        per_sample = vmap(grad(loss_of(model)), in_dims=(None, 0))
        return per_sample(parameters_of(model), X[:, None])

    right_or_refused(compute, {name: torch.stack(values) for name, values in expected.items()}, engine, **fields)


def by_differences(model: PeftModel, of: Callable[[], Parameters], direction: Parameters) -> Parameters:
    """The derivative of what ``of`` computes, in a direction of the parameters."""
    step = 1e-5
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for name, p in trained(model).items():
                p.add_(direction[name], alpha=sign * step)
        ends.append(of())
        with torch.no_grad():
            for name, p in trained(model).items():
                p.sub_(direction[name], alpha=sign * step)
    return {name: (ends[0][name] - ends[1][name]) / (2 * step) for name in ends[0]}


def a_direction(model: PeftModel) -> Parameters:
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.1 for name, p in parameters_of(model).items()
    }


def gradient(model: PeftModel) -> Parameters:
    found = torch.autograd.grad(model(X).square().sum(), list(trained(model).values()))
    return dict(zip(trained(model), found, strict=True))


@each_engine
def test_a_second_derivative_in_a_direction(engine: str, fields: dict[str, Any]) -> None:
    plain = model_of("direct", **fields)
    direction = a_direction(plain)
    expected = by_differences(plain, lambda: gradient(plain), direction)

    def compute(model: PeftModel) -> Parameters:
        parameters = trained(model)
        first = torch.autograd.grad(model(X).square().sum(), list(parameters.values()), create_graph=True)
        along = sum((g * d).sum() for g, d in zip(first, direction.values(), strict=True))
        return dict(zip(parameters, torch.autograd.grad(along, list(parameters.values())), strict=True))

    right_or_refused(compute, expected, engine, 1e-4, **fields)


@each_engine
def test_a_penalty_on_the_gradient_of_the_input(engine: str, fields: dict[str, Any]) -> None:
    plain = model_of("direct", **fields)

    def penalty(model: PeftModel, create_graph: bool = False) -> Tensor:
        x = X.clone().requires_grad_()
        (found,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=create_graph)
        return found.square().sum()

    # One number a parameter: the derivative along a direction of that parameter alone.
    direction = a_direction(plain)
    expected = {
        name: by_differences(
            plain,
            lambda: {"": penalty(plain)},
            {other: d * (other == name) for other, d in direction.items()},
        )[""]
        for name in direction
    }

    def compute(model: PeftModel) -> Parameters:
        parameters = trained(model)
        found = torch.autograd.grad(penalty(model, create_graph=True), list(parameters.values()))
        return {name: (value * direction[name]).sum() for name, value in zip(parameters, found, strict=True)}

    right_or_refused(compute, expected, engine, 1e-4, **fields)


@pytest.mark.parametrize("engine", ["direct", "auto"])
@pytest.mark.parametrize("way", ["jvp", "jacfwd", "forward_ad"])
def test_forward_mode(engine: str, way: str) -> None:
    plain = model_of("direct")
    direction = a_direction(plain)
    expected = by_differences(plain, lambda: {"": plain(X).detach()}, direction)

    def compute(model: PeftModel) -> Parameters:
        parameters = parameters_of(model)

        def outputs(parameters: Parameters) -> Tensor:
            return functional_call(model, parameters, (X,))

        if way == "jvp":
            return {"": jvp(outputs, (parameters,), (direction,))[1]}
        if way == "forward_ad":
            with forward_ad.dual_level():
                duals = {name: forward_ad.make_dual(p, direction[name]) for name, p in parameters.items()}
                return {"": forward_ad.unpack_dual(outputs(duals)).tangent}
        columns = jacfwd(outputs)(parameters)
        return {"": sum(torch.tensordot(columns[name], d, dims=d.dim()) for name, d in direction.items())}

    right_or_refused(compute, expected, engine, 1e-5)


@pytest.mark.parametrize("engine", ["direct", "auto"])
def test_jacobians_by_reverse_mode(engine: str) -> None:
    plain = model_of("direct")
    expected: dict[str, list[Tensor]] = {name: [] for name in trained(plain)}
    for value in plain(X).flatten():
        for name, found in zip(
            expected, torch.autograd.grad(value, list(trained(plain).values()), retain_graph=True), strict=True
        ):
            expected[name].append(found)

    def compute(model: PeftModel) -> Parameters:
        jacobian = jacrev(lambda parameters: functional_call(model, parameters, (X,)).flatten())
        return jacobian(parameters_of(model))

    right_or_refused(compute, {name: torch.stack(values) for name, values in expected.items()}, engine)


@pytest.mark.parametrize("engine", ["direct", "auto"])
def test_a_hessian(engine: str) -> None:
    plain = model_of("direct")
    name = next(iter(trained(plain)))
    direction = {other: d * (other == name) for other, d in a_direction(plain).items()}
    expected = by_differences(plain, lambda: {"": gradient(plain)[name]}, direction)

    def compute(model: PeftModel) -> Parameters:
        rest = parameters_of(model)
        found = hessian(lambda one: loss_of(model)({**rest, name: one}, X))(rest[name])
        return {"": torch.tensordot(found, direction[name], dims=direction[name].dim())}

    right_or_refused(compute, expected, engine, 1e-4)


@pytest.mark.parametrize("engine", ["direct", "auto"])
def test_several_sets_of_parameters_at_once(engine: str) -> None:
    """An ensemble of adapters: ``vmap`` over the parameters, and not over the rows."""
    plain = model_of("direct")
    sets = [parameters_of(plain), {name: p + 0.1 for name, p in parameters_of(plain).items()}]
    with torch.no_grad():
        expected = torch.stack([functional_call(plain, each, (X,)) for each in sets])

    def compute(model: PeftModel) -> Parameters:
        stacked = {name: torch.stack([each[name] for each in sets]) for name in sets[0]}
        with torch.no_grad():
            return {"": vmap(lambda each: functional_call(model, each, (X,)))(stacked)}

    right_or_refused(compute, {"": expected}, engine)


@pytest.mark.parametrize("engine", ["direct", "auto"])
def test_parameters_from_outside_are_the_ones_that_count(engine: str) -> None:
    """``functional_call`` and ``vjp`` with other parameters than the model's own, and with no transform above them."""
    plain = model_of("direct")
    other = {name: p * 1.5 for name, p in parameters_of(plain).items()}
    with torch.no_grad():
        expected = {"output": functional_call(plain, other, (X,))}
    for name, p in trained(plain).items():
        p.data.copy_(other[name])
    expected |= gradient(plain)

    def compute(model: PeftModel) -> Parameters:
        output, back = vjp(lambda parameters: functional_call(model, parameters, (X,)), other)
        return {"output": output.detach(), **back(2 * output)[0]}

    right_or_refused(compute, expected, engine)


def test_a_language_model_has_gradients_of_each_sample() -> None:
    """Embeddings and attention between the layers, with the engine that does all transforms."""
    model = adapted(llama(attn_implementation="eager"), target_modules=["q_proj", "down_proj"], engine="direct")
    ids = torch.arange(3, 15).view(2, 6)

    def loss(parameters: Parameters, ids: Tensor) -> Tensor:
        return (
            functional_call(model, parameters, (), {"input_ids": ids[None], "use_cache": False}).logits.square().sum()
        )

    found = vmap(grad(loss), in_dims=(None, 0))(parameters_of(model), ids)
    for i, row in enumerate(ids):
        parameters = trained(model)
        one = torch.autograd.grad(model(input_ids=row[None]).logits.square().sum(), list(parameters.values()))
        for name, value in zip(parameters, one, strict=True):
            assert off(found[name][i], value) < 1e-3, name

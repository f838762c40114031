"""A basis is a pure function: the same arguments give the same values, and nothing else in the process notices."""

from __future__ import annotations

import random

import numpy as np
import torch

from lrlora.bases import Basis
from lrlora.testing.bases.inputs import SYMBOLS, Arguments, evaluate, first, generic, place
from lrlora.testing.checks import ConformanceError


def check_arguments_unchanged(basis: Basis) -> None:
    """``matrix`` changes none of its arguments in place."""
    arguments = generic(7)
    before = [one.clone() for one in arguments]
    versions = [one._version for one in arguments]
    evaluate(basis, *arguments)
    for name, one, kept, version in zip(Arguments._fields, arguments, before, versions, strict=True):
        # The version also tells of a change that was taken back, which breaks the graph of whoever made the tensor.
        if not torch.equal(one, kept) or one._version != version:
            raise ConformanceError(f"changes its argument `{name}` in place")


def check_randomness(basis: Basis) -> None:
    """``matrix`` draws no random numbers, of PyTorch, NumPy or Python: values and the states of all three stay."""
    arguments = generic(7)
    with torch.random.fork_rng(devices=[]):
        kept = random.getstate(), np.random.get_state()  # noqa: NPY002  # the global state is what is asked about
        try:
            found = []
            for seed in (1, 2):
                torch.manual_seed(seed)
                np.random.seed(seed)  # noqa: NPY002
                random.seed(seed)
                before = _random_states()
                found.append(evaluate(basis, *arguments))
                for library, then, now in zip(("torch", "numpy", "random"), before, _random_states(), strict=True):
                    if then != now:
                        raise ConformanceError(f"draws from the global random numbers of `{library}`")
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])  # noqa: NPY002
    if (where := first(~_same(found[0], found[1]))) is not None:
        raise ConformanceError(f"depends on the random seed at {place(basis, arguments, where)}")


def check_state(basis: Basis) -> None:
    """Values depend on no earlier call: with other arguments, of another dtype, number or shape, without gradients."""
    arguments = generic(7)
    if evaluate(basis, *arguments).requires_grad:
        raise ConformanceError(
            "its values require gradients though no argument does: it holds parameters, which no adapter saves"
        )
    with torch.no_grad():
        before = evaluate(basis, *arguments)
    wider = generic(7, seed=1)
    for other in (
        wider._replace(z=5 * wider.z),
        generic(7, seed=2).to(torch.float32),
        generic(3),
        generic(7, points=2),
    ):
        fresh = [evaluate(basis, *other) for _ in range(2)]
        if not bool(_same(*fresh).all()):
            raise ConformanceError("the same call twice gives two values")
    with torch.no_grad():
        after = evaluate(basis, *arguments)
    if (where := first(~_same(before, after))) is not None:
        raise ConformanceError(
            f"depends on earlier calls: {float(before[where]):.5g}, then {float(after[where]):.5g}, "
            f"at {place(basis, arguments, where)}"
        )
    leaves = arguments.leaves()
    for _ in range(2):
        with_graph = evaluate(basis, *leaves)
        if (where := first(~_same(before, with_graph))) is not None:
            raise ConformanceError(
                f"depends on whether gradients are recorded: {float(before[where]):.5g} without, "
                f"{float(with_graph.detach()[where]):.5g} with, at {place(basis, arguments, where)}"
            )
        if with_graph.requires_grad:
            try:
                torch.autograd.grad(with_graph.sum(), leaves, allow_unused=True)
            except RuntimeError as error:
                raise ConformanceError("keeps a graph of an earlier call: the second backward pass fails") from error


def check_default_dtype(basis: Basis) -> None:
    """Values do not depend on ``torch.get_default_dtype()``: constants take the dtype of z."""
    kept = torch.get_default_dtype()
    for dtype in (torch.float32, torch.float64):
        arguments, found = generic(7).to(dtype), []
        try:
            for default in (torch.float32, torch.float64):
                torch.set_default_dtype(default)
                found.append(evaluate(basis, *arguments))
        finally:
            torch.set_default_dtype(kept)
        name = str(dtype).removeprefix("torch.")
        if found[0].dtype is not found[1].dtype:
            raise ConformanceError(f"the dtype of the result follows torch's default dtype, for {name} arguments")
        if (where := first(~_same(*found))) is not None:
            raise ConformanceError(
                f"depends on torch's default dtype at {place(basis, arguments, where)}, {name}: "
                "give constants dtype=z.dtype"
            )


def check_precision(basis: Basis) -> None:
    """In float64 nothing is rounded to a narrower dtype on the way: engines fit to 1e-5 and better."""
    arguments = generic(7, points=24)
    before = evaluate(basis, *arguments)
    for name in Arguments._fields:
        one = getattr(arguments, name)
        far = evaluate(basis, *arguments._replace(**{name: one + 1e-3})) - before
        near = evaluate(basis, *arguments._replace(**{name: one + 1e-10})) - before
        moved = far.abs() > 1e-5 * before.abs().amax(0)
        blind = (moved.sum(0) >= 4) & ((near != 0) & moved).sum(0).eq(0)
        if blind.any():
            raise ConformanceError(
                f"float64 is rounded inside: adding 1e-10 to {SYMBOLS[name]} leaves ψ_{int(blind.nonzero()[0]) + 1} as "
                "it is, adding 1e-3 does not"
            )


def _random_states() -> tuple[object, object, object]:
    of_numpy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return torch.get_rng_state().tolist(), (of_numpy["key"].tolist(), of_numpy["pos"]), random.getstate()


def _same(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Where two results are the same to the bit; NaN is NaN."""
    return (one == other) | (one.isnan() & other.isnan())

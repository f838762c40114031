"""The contract of :meth:`Basis.matrix`: shape, dtype, device, what values depend on, and that nothing else changes."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from lrlora.bases import Basis
from lrlora.testing.basis_checks.arguments import (
    F32,
    F64,
    SYMBOLS,
    Arguments,
    evaluate,
    everywhere,
    generic,
    same,
    uniform,
)
from lrlora.testing.checks import ConformanceError, demand, global_state, short

SIZES = (1, 2, 7, 50)
"""Numbers of functions at which a basis is asked for its shape."""
ROUNDING = 1e-11
"""Relative difference in float64 that the vector instructions of a processor may make between two shapes of input."""


def check_shape(basis: Basis) -> None:
    """``matrix`` returns ``(..., N)`` for z of any shape, strided, empty or scalar, and any N from one."""
    for n in SIZES:
        at = generic(n)
        flat, wide = at.z, at.z.view(3, 4)
        for z in (flat[0], flat[:3], wide, wide.T, flat[:1].expand(5), flat[:0], flat[:0].view(2, 0)):
            evaluate(basis, at._replace(z=z))


def check_dtype(basis: Basis) -> None:
    """The result has the dtype of z: float64, float32, bfloat16 or float16."""
    for dtype in (F64, F32, torch.bfloat16, torch.float16):
        found = evaluate(basis, generic(7).to(dtype)).dtype
        demand(found is dtype, f"matrix of {short(dtype)} arguments is {short(found)}; it must keep the dtype")


def check_device(basis: Basis) -> None:
    """Everything is made on the device of z: asked on the device "meta", which holds shapes and no data."""
    for n in SIZES:
        try:
            found = evaluate(basis, generic(n).to(device="meta")).device
        except ConformanceError as error:
            raise ConformanceError(
                "on the device 'meta' a tensor is made on another device than that of z (give it device=z.device), "
                f"or looks at the data: {error}"
            ) from error
        demand(found.type == "meta", f"matrix of tensors on the device 'meta' is on {str(found)!r}")


def check_elementwise(basis: Basis) -> None:
    """An entry of the result depends on its own entry of z alone, whatever else is in z and whatever its shape."""
    at = generic(7)
    together = evaluate(basis, at)
    others = [torch.roll(3.1 * at.z, 1) for _ in at.z]
    for k, one in enumerate(others):
        one[k] = at.z[k]
    found = {
        "with other values around it in z": [evaluate(basis, at._replace(z=one))[k] for k, one in enumerate(others)],
        "with it alone in z": [evaluate(basis, at._replace(z=one)) for one in at.z],
        "with z of shape (3, 4)": list(evaluate(basis, at._replace(z=at.z.view(3, 4))).reshape(together.shape)),
    }
    for how, rows in found.items():
        again = torch.stack(rows)
        holds = (again - together).abs() <= ROUNDING * (1 + together.abs().amax())
        said = "not elementwise: {before:.5g} at {place} becomes {after:.5g} {how}"
        everywhere(holds, said, basis, at, before=together, after=again, how=how)


def check_own_parameters(basis: Basis) -> None:
    """ψ_i depends on its own ω_i and z_i alone, and on no other."""
    at = generic(7)
    before = evaluate(basis, at)
    for name in ("bandwidth", "grid"):
        for j in range(7):
            moved = getattr(at, name).clone()
            moved[j] = 0.77 * moved[j] + 0.05
            holds = (evaluate(basis, at._replace(**{name: moved})) - before).abs() <= ROUNDING * (
                1 + before.abs().amax()
            )
            holds[:, j] = True
            symbol = f"{SYMBOLS[name][0]}_{j + 1}"
            everywhere(holds, "{symbol} changes ψ_{i}: see {place}", basis, at, symbol=symbol)


def check_bandwidth_matters(basis: Basis) -> None:
    """Every ψ_i that is not constant changes with its ω_i: else a trained bandwidth would do nothing."""
    varies, moves = _moves(basis, "bandwidth")
    demand(varies.any(), f"no ψ_i of {len(varies)} changes with z, from z = -4 to z = 4")
    for i, ignored in enumerate((varies & ~moves).tolist(), 1):
        demand(not ignored, f"ψ_{i} of {len(varies)} does not change with its bandwidth ω")


def check_uses_grid(basis: Basis) -> None:
    """``uses_grid`` is true if grid points change the result, and false if they do not."""
    changes = bool(_moves(basis, "grid")[1].any())
    said = f"uses_grid is {basis.uses_grid}, but {'a' if changes else 'no'} ψ_i changes with its grid point z_i"
    demand(changes == basis.uses_grid, f"{said}: set uses_grid = {changes}")


def _moves(basis: Basis, name: str) -> tuple[Tensor, Tensor]:
    """Which functions change with z, and which with the parameter ``name``: ``(N,)`` each."""
    at = uniform(torch.linspace(-4, 4, 201, dtype=F64), 7)
    before = evaluate(basis, at)
    after = evaluate(basis, at._replace(**{name: 0.9 * getattr(at, name) + 0.037}))
    size = 1e-9 * before.abs().amax(0)
    return before.amax(0) - before.amin(0) > size, (after - before).abs().amax(0) > size


def check_arguments_unchanged(basis: Basis) -> None:
    """``matrix`` changes none of its arguments in place."""
    at = generic(7)
    before = [(one.clone(), one._version) for one in at]
    evaluate(basis, at)
    for name, one, (kept, version) in zip(Arguments._fields, at, before, strict=True):
        # The version also tells of a change that was taken back, which breaks the graph of whoever made the tensor.
        demand(torch.equal(one, kept) and one._version == version, f"changes its argument `{name}` in place")


def check_randomness(basis: Basis) -> None:
    """``matrix`` draws no random numbers and changes no setting: values, generators and PyTorch's settings stay."""
    at, found = generic(7), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # the global state is what is asked about
        random.seed(seed)
        before = global_state()
        found.append(evaluate(basis, at))
        after = global_state()
        for what, state in before.items():
            demand(state == after[what], f"changes {what}")
    everywhere(same(*found), "depends on the random seed at {place}", basis, at)


def check_state(basis: Basis) -> None:
    """Values depend on no earlier call: with other arguments, of another dtype, number or shape, without gradients."""
    at, wider = generic(7), generic(7, seed=1)
    demand(
        not evaluate(basis, at).requires_grad,
        "its values require gradients though no argument does: it holds parameters, which no adapter saves",
    )
    with torch.no_grad():
        before = evaluate(basis, at)
    for other in (wider._replace(z=5 * wider.z), generic(7, seed=2).to(F32), generic(3), generic(7, points=2)):
        twice = [evaluate(basis, other) for _ in range(2)]
        demand(same(*twice).all(), "the same call twice gives two values")
    with torch.no_grad():
        after = evaluate(basis, at)
    changed = "{before:.5g}, then {after:.5g}, at {place}"
    everywhere(same(before, after), f"depends on earlier calls: {changed}", basis, at, before=before, after=after)
    leaves = at.leaves()
    for _ in range(2):
        values = evaluate(basis, leaves)
        said = f"depends on whether gradients are recorded: {changed}"
        everywhere(same(before, values), said, basis, at, before=before, after=values.detach())
        if values.requires_grad:
            try:
                torch.autograd.grad(values.sum(), leaves, allow_unused=True)
            except RuntimeError as error:
                raise ConformanceError("keeps a graph of an earlier call: the second backward pass fails") from error


def check_default_dtype(basis: Basis) -> None:
    """Values do not depend on ``torch.get_default_dtype()``: constants take the dtype of z."""
    for dtype in (F32, F64):
        at, found = generic(7).to(dtype), []
        for default in (F32, F64):
            torch.set_default_dtype(default)
            found.append(evaluate(basis, at))
        said = f"for {short(dtype)} arguments"
        demand(found[0].dtype is found[1].dtype, f"the dtype of the result follows torch's default dtype, {said}")
        said = f"depends on torch's default dtype at {{place}}, {said}: give constants dtype=z.dtype"
        everywhere(same(*found), said, basis, at)


def check_precision(basis: Basis) -> None:
    """In float64 nothing is rounded to a narrower dtype on the way: engines fit to 1e-5 and better."""
    at = generic(7, points=24)
    before = evaluate(basis, at)
    for name, symbol in SYMBOLS.items():
        far, near = (evaluate(basis, at._replace(**{name: getattr(at, name) + by})) - before for by in (1e-3, 1e-10))
        moved = far.abs() > 1e-5 * before.abs().amax(0)
        blind = (moved.sum(0) >= 4) & ~((near != 0) & moved).any(0)
        said = f"adding 1e-10 to {symbol} leaves ψ_{int(blind.int().argmax()) + 1} as it is, adding 1e-3 does not"
        demand(not blind.any(), f"float64 is rounded inside: {said}")

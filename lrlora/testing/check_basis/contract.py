"""The contract of :meth:`Basis.matrix`: shape, dtype, device, what a value depends on, and that nothing else changes.

Points are drawn once, from a fixed seed, so that a check gives the same answer at every run. They are generic: a kink,
which a basis may have, lies on none of them.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrlora.bases import Basis
from lrlora.testing.checks import ConformanceError, one_line, short

SIZES = (1, 2, 7, 50)
"""Numbers of functions at which a basis is asked for its shape."""

ROUNDING = 1e-11
"""Relative difference in float64 that the vector instructions of a processor may make between two shapes of input."""

BOUND = 3.0
"""Half-width of the interval of the grid points, in units of z: the default of a config."""

SYMBOLS = {"z": "z", "grid": "z_i", "bandwidth": "ω"}
"""What messages call the arguments of :meth:`Basis.matrix`."""


class Arguments(NamedTuple):
    """The arguments of :meth:`Basis.matrix`.

    Attributes:
        z: ``(K,)``, or any other shape.
        grid: ``(N,)``.
        bandwidth: ``(N,)``.
    """

    z: Tensor
    grid: Tensor
    bandwidth: Tensor

    def to(self, dtype: torch.dtype | None = None, device: str | None = None) -> Arguments:
        """A copy of them in another dtype or on another device."""
        return Arguments(*(each.to(device=device, dtype=dtype, copy=True) for each in self))

    def leaves(self) -> Arguments:
        """A copy of them that collects gradients."""
        return Arguments(*(each.detach().clone().requires_grad_() for each in self))


def generic(n: int, points: int = 12, seed: int = 0) -> Arguments:
    """Arguments at random: z a little wider than the grid interval, ω of order one; float64."""
    generator = torch.Generator(device="cpu").manual_seed(seed)

    def uniform(count: int, low: float, high: float) -> Tensor:
        return torch.empty(count, dtype=torch.float64, device="cpu").uniform_(low, high, generator=generator)

    return Arguments(uniform(points, -3.5, 3.5), uniform(n, -BOUND, BOUND).sort().values, uniform(n, 0.4, 1.8))


def uniform_grid(n: int) -> Tensor:
    """Grid points as the grid ``uniform`` has them, ``(N,)``, float64."""
    return torch.linspace(-BOUND, BOUND, n, dtype=torch.float64) if n > 1 else torch.zeros(1, dtype=torch.float64)


def evaluate(basis: Basis, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
    """ψ_i(z), ``(..., N)``.

    Raises:
        ConformanceError: The result is no tensor, or has another shape.
    """
    values = basis.matrix(z, grid, bandwidth)
    if not isinstance(values, Tensor):
        raise ConformanceError(f"matrix(z) returns a {type(values).__name__}; it must return a tensor")
    expected = (*z.shape, len(grid))
    if values.shape != expected:
        raise ConformanceError(
            f"matrix(z) of shape {tuple(z.shape)} with {len(grid)} grid points has shape {tuple(values.shape)}; "
            f"it must be {expected}"
        )
    return values


def u_of(basis: Basis, arguments: Arguments) -> Tensor:
    """u at every point and function, ``(..., N)``: ω_i (z − z_i), or ω_i z where grid points play no part."""
    z = arguments.z.unsqueeze(-1)
    return arguments.bandwidth * (z - arguments.grid if basis.uses_grid else z)


def place(basis: Basis, arguments: Arguments, where: tuple[int, int]) -> str:
    """A point and a function, for a message: ``"z = 0.5 (u = 0) in ψ_3"``.

    Args:
        basis: The basis.
        arguments: z of shape ``(K,)``.
        where: Index of the point, and of the function from zero.
    """
    k, i = where
    return f"z = {float(arguments.z[k]):.5g} (u = {float(u_of(basis, arguments)[k, i]):.5g}) in ψ_{i + 1}"


def first(wrong: Tensor) -> tuple[int, int] | None:
    """The first place where a ``(K, N)`` tensor is true, or None."""
    found = wrong.nonzero()
    return (int(found[0, 0]), int(found[0, 1])) if len(found) else None


def worst(error: Tensor) -> tuple[int, int]:
    """The place of the largest entry of a ``(K, N)`` tensor."""
    k, i = divmod(int(error.argmax()), error.shape[1])
    return k, i


def check_shape(basis: Basis) -> None:
    """``matrix`` returns ``(..., N)`` for z of any shape, strided, empty or scalar, and any N from one."""
    for n in SIZES:
        flat, grid, bandwidth = generic(n, points=12)
        wide = flat.view(3, 4)
        for z in (flat[0], flat[:3], wide, wide.T, flat[:1].expand(5), flat[:0], flat[:0].view(2, 0)):
            try:
                evaluate(basis, z, grid, bandwidth)
            except ConformanceError:
                raise
            except Exception as error:
                raise ConformanceError(
                    f"matrix(z) of shape {tuple(z.shape)} with strides {z.stride()} and {n} grid points raises "
                    f"{one_line(error)}"
                ) from error


def check_dtype(basis: Basis) -> None:
    """The result has the dtype of z: float64, float32, bfloat16 or float16."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        try:
            found = evaluate(basis, *generic(7).to(dtype)).dtype
        except ConformanceError:
            raise
        except Exception as error:
            raise ConformanceError(f"matrix of {short(dtype)} arguments raises {one_line(error)}") from error
        if found is not dtype:
            raise ConformanceError(f"matrix of {short(dtype)} arguments is {short(found)}; it must keep the dtype")


def check_device(basis: Basis) -> None:
    """Everything is made on the device of z: asked on the device "meta", which holds shapes and no data."""
    for n in SIZES:
        try:
            found = evaluate(basis, *generic(n).to(device="meta")).device
        except ConformanceError:
            raise
        except Exception as error:
            raise ConformanceError(
                "matrix fails for tensors on the device 'meta': it makes a tensor on another device than that of z "
                f"(give it device=z.device), or looks at the data ({one_line(error)})"
            ) from error
        if found.type != "meta":
            raise ConformanceError(
                f"matrix of tensors on the device 'meta' is on {str(found)!r}; it must keep the device"
            )


def check_elementwise(basis: Basis) -> None:
    """An entry of the result depends on its own entry of z alone, whatever else is in z and whatever its shape."""
    arguments = generic(7)
    z, grid, bandwidth = arguments
    together = evaluate(basis, *arguments)
    tolerance = ROUNDING * (1 + together.abs().amax())
    for k in range(len(z)):
        others = torch.roll(3.1 * z, 1)
        others[k] = z[k]
        company = evaluate(basis, others, grid, bandwidth)[k]
        for found, how in ((company, "other values around it"), (evaluate(basis, z[k], grid, bandwidth), "it alone")):
            wrong = ~((found - together[k]).abs() <= tolerance)
            if wrong.any():
                i = int(wrong.nonzero()[0])
                raise ConformanceError(
                    f"not elementwise: {float(together[k, i]):.5g} at {place(basis, arguments, (k, i))} becomes "
                    f"{float(found[i]):.5g} with {how} in z"
                )
    reshaped = evaluate(basis, z.view(3, 4), grid, bandwidth).reshape(together.shape)
    if (where := first(~((reshaped - together).abs() <= tolerance))) is not None:
        raise ConformanceError(
            f"another value for z of shape (3, 4) than for shape (12,) at {place(basis, arguments, where)}"
        )


def check_own_parameters(basis: Basis) -> None:
    """ψ_i depends on its own ω_i and z_i alone, and on no other."""
    arguments = generic(7)
    before = evaluate(basis, *arguments)
    tolerance = ROUNDING * (1 + before.abs().amax())
    for name in ("bandwidth", "grid"):
        for j in range(7):
            moved = getattr(arguments, name).clone()
            moved[j] = 0.77 * moved[j] + 0.05
            error = (evaluate(basis, *arguments._replace(**{name: moved})) - before).abs()
            error[:, j] = 0
            if (where := first(~(error <= tolerance))) is not None:
                symbol = "ω" if name == "bandwidth" else "z"
                raise ConformanceError(
                    f"{symbol}_{j + 1} changes ψ_{where[1] + 1}: see {place(basis, arguments, where)}"
                )


def check_bandwidth_matters(basis: Basis) -> None:
    """Every ψ_i that is not constant changes with its ω_i: else a trained bandwidth would do nothing."""
    varies, moves = _moves(basis, "bandwidth")
    if not varies.any():
        raise ConformanceError(f"no ψ_i of {len(varies)} changes with z, from z = -4 to z = 4")
    ignoring = (varies & ~moves).nonzero().flatten()
    if len(ignoring):
        raise ConformanceError(f"ψ_{int(ignoring[0]) + 1} of {len(varies)} does not change with its bandwidth ω")


def check_uses_grid(basis: Basis) -> None:
    """``uses_grid`` is true if grid points change the result, and false if they do not."""
    _, moves = _moves(basis, "grid")
    if basis.uses_grid and not moves.any():
        raise ConformanceError("uses_grid is True, but no ψ_i changes with its grid point z_i: set uses_grid = False")
    if not basis.uses_grid and moves.any():
        raise ConformanceError(
            f"uses_grid is False, but ψ_{int(moves.nonzero()[0]) + 1} changes with its grid point: set uses_grid = True"
        )


def _moves(basis: Basis, name: str) -> tuple[Tensor, Tensor]:
    """Which functions change with z, and which with the parameter ``name``: ``(N,)`` each."""
    n = 7
    z = torch.linspace(-4, 4, 201, dtype=torch.float64)
    arguments = Arguments(z, uniform_grid(n), torch.ones(n, dtype=torch.float64))
    before = evaluate(basis, *arguments)
    after = evaluate(basis, *arguments._replace(**{name: 0.9 * getattr(arguments, name) + 0.037}))
    size = before.abs().amax(0)
    varies = before.amax(0) - before.amin(0) > 1e-9 * size
    return varies, (after - before).abs().amax(0) > 1e-9 * size


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


def _same(one: Tensor, other: Tensor) -> Tensor:
    """Where two results are the same to the bit; NaN is NaN."""
    return (one == other) | (one.isnan() & other.isnan())

"""The plain contract of :meth:`Basis.matrix`: shape, dtype, device, and what an entry of the result may depend on."""

from __future__ import annotations

import torch

from lrlora.bases import Basis
from lrlora.testing.bases.inputs import Arguments, evaluate, first, generic, place, uniform_grid
from lrlora.testing.checks import ConformanceError

SIZES = (1, 2, 7, 50)
"""Numbers of functions at which a basis is asked for its shape."""

ROUNDING = 1e-11
"""Relative difference in float64 that the vector instructions of a processor may make between two shapes of input."""


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
                    f"{type(error).__name__}: {_one_line(error)}"
                ) from error


def check_dtype(basis: Basis) -> None:
    """The result has the dtype of z: float64, float32, bfloat16 or float16."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        try:
            found = evaluate(basis, *generic(7).to(dtype)).dtype
        except ConformanceError:
            raise
        except Exception as error:
            raise ConformanceError(
                f"matrix of {_short(dtype)} arguments raises {type(error).__name__}: {_one_line(error)}"
            ) from error
        if found is not dtype:
            raise ConformanceError(f"matrix of {_short(dtype)} arguments is {_short(found)}; it must keep the dtype")


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
                f"(give it device=z.device), or looks at the data ({type(error).__name__}: {_one_line(error)})"
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
    """ψ_i depends on its own ω_i and z_i alone, as the fit of many layers together relies on."""
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


def check_vmap(basis: Basis) -> None:
    """``torch.vmap`` over rows that each have their own θ gives the same: engines evaluate all layers this way."""
    arguments = generic(7)
    one_by_one = evaluate(basis, *arguments)
    rows = [one.expand(len(arguments.z), -1) for one in arguments[1:]]
    try:
        at_once = torch.vmap(basis.matrix)(arguments.z, *rows)
    except Exception as error:
        raise ConformanceError(
            "matrix fails under torch.vmap, through which engines call it: write it without .item(), without branches "
            f"on values and without in-place changes ({type(error).__name__}: {_one_line(error)})"
        ) from error
    if at_once.shape != one_by_one.shape:
        raise ConformanceError(
            f"under torch.vmap matrix has shape {tuple(at_once.shape)}, not {tuple(one_by_one.shape)}"
        )
    tolerance = ROUNDING * (1 + one_by_one.abs().amax())
    if (where := first(~((at_once - one_by_one).abs() <= tolerance))) is not None:
        raise ConformanceError(f"another value under torch.vmap at {place(basis, arguments, where)}")


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


def _moves(basis: Basis, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Which functions change with z, and which with the parameter ``name``: ``(N,)`` each."""
    n = 7
    z = torch.linspace(-4, 4, 201, dtype=torch.float64)
    arguments = Arguments(z, uniform_grid(n), torch.ones(n, dtype=torch.float64))
    before = evaluate(basis, *arguments)
    after = evaluate(basis, *arguments._replace(**{name: 0.9 * getattr(arguments, name) + 0.037}))
    size = before.abs().amax(0)
    varies = before.amax(0) - before.amin(0) > 1e-9 * size
    return varies, (after - before).abs().amax(0) > 1e-9 * size


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]

"""One pass over a block of entries: a polynomial forward; the polynomial, its derivative and the moments backward.

Where a C++ compiler is there, ``torch.compile`` makes one loop of each pass; where not, and before enough has been
computed to be worth the wait, the same is done by in-place operations on blocks that stay in cache. Both read the
degree from a short list, so that a few compiled loops serve all layers.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, ClassVar

import torch
from torch import Tensor

from lrlora.engines.scratch import scratch

DEGREES = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24)
"""Degrees that passes are made for; a polynomial of another degree takes the next, with zeros."""

LARGEST_FUSED_RANK = 16
"""Up to this rank BA is made inside the loop of the polynomial, and not stored; past it a product is quicker."""

IN_CACHE = 1 << 16
"""Entries per step of the passes that are not compiled."""

WORTH_STARTING = 4_000_000_000
WORTH_ANOTHER = 400_000_000
"""Entries through passes that are not compiled before one is: the compiler takes 10 to 20 s to start and 2 to 5 s for a
pass, and saves 2 to 4 ns per entry. Counted and not timed, so that the same run does the same twice."""

log = logging.getLogger(__name__)


class Passes:
    """The passes of one degree.

    Args:
        degree: Of the polynomial.
    """

    def __init__(self, degree: int) -> None:
        self.degree = degree
        self._entries = 0
        self._fused: dict[tuple[str, int], _Fused] = {}

    def _fuse(self, function: Callable[..., Any], r: int = 0) -> _Fused:
        key = (function.__name__, r)
        if key not in self._fused:
            self._fused[key] = _Fused(function, f"{self.degree}_{r}")
        return self._fused[key]

    def evaluate(self, B: Tensor, A: Tensor, base: Tensor | None, out: Tensor, c: Tensor) -> None:
        """``out`` becomes ``base`` + Σ c_k (BA)^k."""
        r = A.shape[0]
        if r > LARGEST_FUSED_RANK:
            torch.mm(B, A, out=out)
            self.evaluate_(out, base, c)
            return
        if self._is_compiled(out):
            with _compiler.failing_over():
                if base is None:
                    self._fuse(_product_value, r)(out, B, A, c)
                else:
                    self._fuse(_product_value_on_base, r)(out, B, A, base, c)
                return
        torch.mm(B, A, out=out)
        _evaluate_in_cache(out, base, c)

    def evaluate_(self, t: Tensor, base: Tensor | None, c: Tensor) -> None:
        """``t`` becomes ``base`` + Σ c_k t^k."""
        if self._is_compiled(t):
            with _compiler.failing_over():
                if base is None:
                    self._fuse(_value)(t, c)
                else:
                    self._fuse(_value_on_base)(t, base, c)
                return
        _evaluate_in_cache(t, base, c)

    def pull_back_(self, t: Tensor, base: Tensor | None, gradient: Tensor, c: Tensor, slope: Tensor) -> Tensor:
        """``gradient`` is multiplied by the derivative, and ``t`` becomes as above if there is a ``base``.

        Returns:
            The moments Σ gradient · t^k, k = 0 … degree, float64.
        """
        if self._is_compiled(t):
            with _compiler.failing_over():
                if base is None:
                    moments = self._fuse(_pull)(t, gradient, slope)
                else:
                    moments = self._fuse(_pull_on_base)(t, base, gradient, c, slope)
                return moments.sum(1, dtype=torch.float64)  # type: ignore[no-any-return]
        total = torch.zeros(self.degree + 1, dtype=torch.float64, device=t.device)
        for rows in _in_cache(t):
            total += _moments(t[rows], gradient[rows], self.degree)
            factor = scratch(t[rows].shape, t, "slope")
            _horner(t[rows], slope, None, out=factor)
            gradient[rows].mul_(factor)
            if base is not None:
                _horner(t[rows], c, base[rows], out=t[rows])
        return total

    def _is_compiled(self, t: Tensor) -> bool:
        if not _compiler.usable(t):
            return False
        self._entries += t.numel()
        return _compiler.is_worth(self._entries)


_passes: dict[int, Passes] = {}


def passes_of(degree: int) -> Passes:
    """The passes for a polynomial of ``degree``, at most 24: of that degree or the next in :data:`DEGREES`."""
    degree = next(d for d in DEGREES if d >= degree)
    if degree not in _passes:
        _passes[degree] = Passes(degree)
    return _passes[degree]


# -- in place, one operation after the other ------------------------------------------------------------------


def _in_cache(t: Tensor) -> list[slice]:
    rows = max(1, IN_CACHE // max(1, t.shape[1]))
    return [slice(start, start + rows) for start in range(0, t.shape[0], rows)]


def _evaluate_in_cache(t: Tensor, base: Tensor | None, c: Tensor) -> None:
    for rows in _in_cache(t):
        _horner(t[rows], c, base if base is None else base[rows], out=t[rows])


def _horner(t: Tensor, c: Tensor, base: Tensor | None, out: Tensor) -> None:
    """``out``, which may be ``t``, becomes ``base`` + Σ c_k t^k."""
    coefficients = c.unbind()
    if len(coefficients) == 1:
        out.copy_(coefficients[0].expand_as(t))
    else:
        p = scratch(t.shape, t, "value")
        torch.addcmul(coefficients[-2], t, coefficients[-1], out=p)
        for k in range(len(coefficients) - 3, -1, -1):
            torch.addcmul(coefficients[k], p, t, out=p)
        out.copy_(p)
    if base is not None:
        out.add_(base)


TOGETHER = 4


def _moments(t: Tensor, gradient: Tensor, degree: int) -> Tensor:
    """Four at a time: Σ G t^(4b+j) is the product of G t^(4b) with t^j, which reads every power once."""
    together = min(TOGETHER, degree)
    powers = scratch((together, t.numel()), t, "powers")
    powers[0].copy_(t.reshape(-1))
    for j in range(1, together):
        torch.mul(powers[j - 1], powers[0], out=powers[j])
    carried = scratch((t.numel(),), t, "carried")
    carried.copy_(gradient.reshape(-1))
    found = [carried.sum().reshape(1)]
    for start in range(0, degree, together):
        found.append(powers[: degree - start] @ carried)
        if start + together < degree:
            carried.mul_(powers[-1])
    return torch.cat(found).double()


# -- the same as one loop each --------------------------------------------------------------------------------
# The coefficients of the derivative come ready-made: multiplying them by k inside the loop would take as long as the
# polynomial. Moments are summed along rows, which needs no care for rounding; one sum over the block would get it.


def _product_value(out: Tensor, B: Tensor, A: Tensor, c: Tensor) -> None:
    out.copy_(_polynomial(_product(B, A), c))


def _product_value_on_base(out: Tensor, B: Tensor, A: Tensor, base: Tensor, c: Tensor) -> None:
    out.copy_(base + _polynomial(_product(B, A), c))


def _product(B: Tensor, A: Tensor) -> Tensor:
    """BA, term by term: one multiplication and addition per rank and entry, in registers."""
    t = B[:, :1] * A[:1]
    for k in range(1, A.shape[0]):
        t = t + B[:, k : k + 1] * A[k : k + 1]
    return t


def _value(t: Tensor, c: Tensor) -> None:
    t.copy_(_polynomial(t, c))


def _value_on_base(t: Tensor, base: Tensor, c: Tensor) -> None:
    t.copy_(base + _polynomial(t, c))


def _pull(t: Tensor, gradient: Tensor, slope: Tensor) -> Tensor:
    moments = _row_moments(t, gradient, len(slope))
    gradient.mul_(_polynomial(t, slope))
    return moments


def _pull_on_base(t: Tensor, base: Tensor, gradient: Tensor, c: Tensor, slope: Tensor) -> Tensor:
    moments = _row_moments(t, gradient, len(slope))
    gradient.mul_(_polynomial(t, slope))
    t.copy_(base + _polynomial(t, c))
    return moments


def _polynomial(t: Tensor, c: Tensor) -> Tensor:
    coefficients = c.unbind()
    if len(coefficients) == 1:
        return coefficients[0].expand_as(t)
    p = coefficients[-1] * t + coefficients[-2]
    for k in range(len(coefficients) - 3, -1, -1):
        p = p * t + coefficients[k]
    return p


def _row_moments(t: Tensor, gradient: Tensor, degree: int) -> Tensor:
    power = gradient
    sums = [power.sum(1)]
    for _ in range(degree):
        power = power * t
        sums.append(power.sum(1))
    return torch.stack(sums)


class _Fused:
    """A pass through ``torch.compile``, started when it is first called."""

    # Every intermediate value of a loop is to stay in a register; the compiler's own thresholds would store powers.
    OPTIONS: ClassVar[dict[str, Any]] = {
        "realize_opcount_threshold": 1_000_000,
        "realize_reads_threshold": 1_000_000,
        "realize_acc_reads_threshold": 1_000_000,
        "max_fusion_size": 1000,
    }

    def __init__(self, function: Callable[..., Any], version: str) -> None:
        assert isinstance(function, FunctionType)
        # A code object of its own: the compiler allows few versions of one, and each degree is a version.
        code = function.__code__.replace(co_name=f"{function.__name__}_{version}")
        self._function = FunctionType(code, function.__globals__, code.co_name)
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, *tensors: Tensor) -> Any:
        if self._compiled is None:
            _compiler.started = True
            self._compiled = torch.compile(self._function, dynamic=True, fullgraph=True, options=self.OPTIONS)
        return self._compiled(*tensors)


class _Compiler:
    """Whether to compile: LRLORA_COMPILE is ``auto`` (where it is worth the wait), ``always`` or ``never``."""

    def __init__(self) -> None:
        self.mode = os.environ.get("LRLORA_COMPILE", "auto")
        if self.mode not in ("auto", "always", "never"):
            raise ValueError(f"LRLORA_COMPILE is 'auto', 'always' or 'never', not {self.mode!r}")
        self.started = False

    def usable(self, t: Tensor) -> bool:
        return self.mode != "never" and t.numel() > 0 and not torch.compiler.is_compiling()

    def is_worth(self, entries: int) -> bool:
        return self.mode == "always" or entries > (WORTH_ANOTHER if self.started else WORTH_STARTING)

    @contextmanager
    def failing_over(self) -> Iterator[None]:
        """Go on without where there is no compiler; a pass that was not compiled has changed nothing."""
        try:
            yield
        except Exception as error:
            self.mode = "never"
            reason = str(error).strip().partition("\n")[0]
            log.warning("passes are not compiled, and take two to four times as long: %s", reason)


_compiler = _Compiler()

"""One pass over a block of entries: a polynomial forward; the polynomial, its derivative and the moments backward.

Where a C++ compiler is there, ``torch.compile`` makes one loop of each pass; where not, and before enough has been
computed to be worth the wait, the same is done by in-place operations on blocks that stay in cache. Both read the
degree from a short list, so that a few compiled loops serve all layers. Polynomials are in the form of :mod:`.newton`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lrlora.engines.compiler import Fused, compiler
from lrlora.engines.newton import centres
from lrlora.engines.scratch import scratch

DEGREES = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28)
"""Degrees that passes are made for; a polynomial of another degree takes the next, with zeros."""

LARGEST_FUSED_RANK = 12
"""Up to this rank BA is made inside the loop of the forward pass, and not stored; past it a product is quicker. In the
backward pass, whose loop has the moments to carry, a product is as quick at rank 4 and up to twice as quick at 16."""

IN_CACHE = 1 << 16
"""Entries per step of the passes that are not compiled."""


class Passes:
    """The passes of one degree.

    Args:
        degree: Of the polynomial.
    """

    def __init__(self, degree: int) -> None:
        self.degree = degree
        self._entries = 0
        self._fused: dict[tuple[str, int], Fused] = {}

    def _fuse(self, function: Callable[..., Any], r: int = 0) -> Fused:
        key = (function.__name__, r)
        if key not in self._fused:
            self._fused[key] = Fused(function, f"{self.degree}_{r}")
        return self._fused[key]

    def evaluate(self, B: Tensor, A: Tensor, base: Tensor | None, out: Tensor, c: Tensor) -> None:
        """``out`` becomes ``base`` + Σ c_k P_k(BA)."""
        r = A.shape[0]
        if r > LARGEST_FUSED_RANK:
            torch.mm(B, A, out=out)
            self.evaluate_(out, base, c)
            return
        s = self._centres(out)
        if self._is_compiled(out):
            with compiler.failing_over():
                if base is None:
                    self._fuse(_product_value, r)(out, B, A, c, s)
                else:
                    self._fuse(_product_value_on_base, r)(out, B, A, base, c, s)
                return
        torch.mm(B, A, out=out)
        _evaluate_in_cache(out, base, c, s)

    def evaluate_(self, t: Tensor, base: Tensor | None, c: Tensor) -> None:
        """``t`` becomes ``base`` + Σ c_k P_k(t)."""
        s = self._centres(t)
        if self._is_compiled(t):
            with compiler.failing_over():
                if base is None:
                    self._fuse(_value)(t, c, s)
                else:
                    self._fuse(_value_on_base)(t, base, c, s)
                return
        _evaluate_in_cache(t, base, c, s)

    def pull_back_(self, t: Tensor, base: Tensor | None, gradient: Tensor, c: Tensor, slope: Tensor) -> Tensor:
        """``gradient`` is multiplied by the derivative, and ``t`` becomes as above if there is a ``base``.

        Returns:
            The moments Σ gradient · P_k(t), k = 0 … degree, float64.
        """
        s = self._centres(t)
        if self._is_compiled(t):
            with compiler.failing_over():
                if base is None:
                    moments = self._fuse(_pull)(t, gradient, slope, s)
                else:
                    moments = self._fuse(_pull_on_base)(t, base, gradient, c, slope, s)
                return moments.sum(1, dtype=torch.float64)  # type: ignore[no-any-return]
        total = torch.zeros(self.degree + 1, dtype=torch.float64, device=t.device)
        for rows in _in_cache(t):
            total += _moments(t[rows], gradient[rows], self.degree, s)
            factor = scratch(t[rows].shape, t, "slope")
            _horner(t[rows], slope, s, None, out=factor)
            gradient[rows].mul_(factor)
            if base is not None:
                _horner(t[rows], c, s, base[rows], out=t[rows])
        return total

    @staticmethod
    def _centres(t: Tensor) -> Tensor:
        return centres(t.dtype, t.device)

    def _is_compiled(self, t: Tensor) -> bool:
        if not compiler.usable(t):
            return False
        self._entries += t.numel()
        return compiler.is_worth(self._entries)


_passes: dict[int, Passes] = {}


def passes_of(degree: int) -> Passes:
    """The passes for a polynomial of ``degree``, at most 28: of that degree or the next in :data:`DEGREES`."""
    degree = next(d for d in DEGREES if d >= degree)
    if degree not in _passes:
        _passes[degree] = Passes(degree)
    return _passes[degree]


# -- in place, one operation after the other ------------------------------------------------------------------


def _in_cache(t: Tensor) -> list[slice]:
    rows = max(1, IN_CACHE // max(1, t.shape[1]))
    return [slice(start, start + rows) for start in range(0, t.shape[0], rows)]


def _evaluate_in_cache(t: Tensor, base: Tensor | None, c: Tensor, s: Tensor) -> None:
    for rows in _in_cache(t):
        _horner(t[rows], c, s, base if base is None else base[rows], out=t[rows])


def _horner(t: Tensor, c: Tensor, s: Tensor, base: Tensor | None, out: Tensor) -> None:
    """``out``, which may be ``t``, becomes ``base`` + Σ c_k P_k(t)."""
    if len(c) == 1:
        out.copy_(c[0].expand_as(t))
    else:
        pairs = _pairs(c)
        p, line, square = (scratch(t.shape, t, use) for use in ("value", "line", "square"))
        torch.mul(t, t, out=square).mul_(4)
        _line(t, pairs[-1], out=p)
        for pair, centre in zip(pairs[-2::-1], s[: len(pairs) - 1].flip(0), strict=True):
            p.mul_(torch.sub(square, centre, out=line))
            p.add_(_line(t, pair, out=line))
        out.copy_(p)
    if base is not None:
        out.add_(base)


def _line(t: Tensor, pair: tuple[Tensor, ...], out: Tensor) -> Tensor:
    if len(pair) == 1:
        return out.copy_(pair[0].expand_as(t))
    return torch.addcmul(pair[0], t, pair[1], out=out)


def _moments(t: Tensor, gradient: Tensor, degree: int, s: Tensor) -> Tensor:
    """Two at a time: those of P_2j and P_2j+1 are the product of G P_2j with 1 and t, which reads it once."""
    one_and_t = scratch((2, t.numel()), t, "powers")
    one_and_t[0].fill_(1)
    one_and_t[1].copy_(t.reshape(-1))
    square, carried, factor = (scratch((t.numel(),), t, use) for use in ("square", "carried", "line"))
    torch.mul(one_and_t[1], one_and_t[1], out=square).mul_(4)
    carried.copy_(gradient.reshape(-1))
    found = []
    for j in range(degree // 2 + 1):
        if j > 0:
            carried.mul_(torch.sub(square, s[j - 1], out=factor))
        found.append(one_and_t[: degree - 2 * j + 1] @ carried)
    return torch.cat(found).double()


# -- the same as one loop each --------------------------------------------------------------------------------
# The coefficients of the derivative come ready-made: a second chain for it inside the loop would take as long as the
# polynomial. Moments are summed along rows, which needs no care for rounding; one sum over the block would get it.


def _product_value(out: Tensor, B: Tensor, A: Tensor, c: Tensor, s: Tensor) -> None:
    out.copy_(_polynomial(_product(B, A), c, s))


def _product_value_on_base(out: Tensor, B: Tensor, A: Tensor, base: Tensor, c: Tensor, s: Tensor) -> None:
    out.copy_(base + _polynomial(_product(B, A), c, s))


def _product(B: Tensor, A: Tensor) -> Tensor:
    """BA, term by term: one multiplication and addition per rank and entry, in registers."""
    t = B[:, :1] * A[:1]
    for k in range(1, A.shape[0]):
        t = t + B[:, k : k + 1] * A[k : k + 1]
    return t


def _value(t: Tensor, c: Tensor, s: Tensor) -> None:
    t.copy_(_polynomial(t, c, s))


def _value_on_base(t: Tensor, base: Tensor, c: Tensor, s: Tensor) -> None:
    t.copy_(base + _polynomial(t, c, s))


def _pull(t: Tensor, gradient: Tensor, slope: Tensor, s: Tensor) -> Tensor:
    moments = _row_moments(t, gradient, len(slope), s)
    gradient.mul_(_polynomial(t, slope, s))
    return moments


def _pull_on_base(t: Tensor, base: Tensor, gradient: Tensor, c: Tensor, slope: Tensor, s: Tensor) -> Tensor:
    moments = _pull(t, gradient, slope, s)
    t.copy_(base + _polynomial(t, c, s))
    return moments


def _pairs(c: Tensor) -> list[tuple[Tensor, ...]]:
    """The coefficients of P_2j and P_2j+1, for j = 0, 1, …; the last may be alone."""
    each = c.unbind()
    return [each[k : k + 2] for k in range(0, len(each), 2)]


def _polynomial(t: Tensor, c: Tensor, s: Tensor) -> Tensor:
    pairs, square = _pairs(c), 4 * t * t
    lines = [pair[0] + t * pair[1] if len(pair) == 2 else pair[0].expand_as(t) for pair in pairs]
    p = lines[-1]
    for j in range(len(pairs) - 2, -1, -1):
        p = p * (square - s[j]) + lines[j]
    return p


def _row_moments(t: Tensor, gradient: Tensor, degree: int, s: Tensor) -> Tensor:
    square, carried, sums = 4 * t * t, gradient, []
    for j in range(degree // 2 + 1):
        if j > 0:
            carried = carried * (square - s[j - 1])
        sums.append(carried.sum(1))
        if 2 * j < degree:
            sums.append((carried * t).sum(1))
    return torch.stack(sums)

"""Which monomials of the factors of BA an update needs.

With b_v the columns of B and a_v the rows of A in the frame of the plan, t = Σ_v q_v b_v a_v, and the multinomial
theorem splits every elementwise power, t^k = Σ_{|α| = k} (k!/α!) q^α b^α a^α, so that ΔW = Σ_k p_k t^k is a sum over
monomials α. In a frame where B has orthogonal columns the updates of trained adapters are concentrated, and few of the
C(r + d, d) monomials matter. Two criteria choose them:

- of every power t^k up to the degree, the leading monomials, whatever p_k is, to :data:`LEADING`. The gradient that
  lets φ bend goes through these. Choosing by the present p_k alone would drop all of them while φ is linear.
- of the update, those that bring ΔW within the tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, repeat

import numpy as np

from lrlora.engines.entries import Array, Entries

LEADING = 0.3
"""Relative error up to which each power t^k is represented, on the sample."""

POOL = 96
"""Monomials of one degree that are candidates, and parents of those of the next, at least."""


@dataclass(frozen=True)
class Monomials:
    """A set of monomials that holds two factors of each of its members.

    Attributes:
        exponents: α, ``(K, r)``, by ascending level; the first r are the variables themselves.
        levels: ``(first, last, left, right)``: the monomials ``first`` to ``last`` are the products of those at the
            indices ``left`` and ``right``, which are all below ``first``.
    """

    exponents: Array
    levels: list[tuple[int, int, list[int], list[int]]]

    @property
    def degrees(self) -> Array:
        """|α|, ``(K,)``."""
        return np.asarray(self.exponents.sum(axis=1))


@dataclass(frozen=True)
class Frame:
    """The frame that monomials are taken in: b = B · to_B, a = to_A · A, every entry at most 1.

    Attributes:
        to_A: ``(r, r)``.
        to_B: ``(r, r)``; to_B · diag(size) · to_A = s_in / ρ · I.
        size: q, ``(r,)``, descending in importance.
    """

    to_A: Array
    to_B: Array
    size: Array

    @classmethod
    def of(cls, entries: Entries, rho: float) -> Frame:
        """Returns the frame of the entries, its components scaled to 1 and sorted by what they add to z."""
        largest_b, largest_a = np.where(entries.largest > 0, entries.largest, 1.0)
        size = entries.scale / rho * largest_b * largest_a
        b, a = entries.sampled_B @ entries.frame / largest_b, (entries.frame.T @ entries.sampled_A).T / largest_a
        reach = np.linalg.norm(b, axis=0) * np.linalg.norm(a, axis=0) * size
        order = np.argsort(-reach, kind="stable")
        return cls((entries.frame / largest_a).T[order], (entries.frame / largest_b)[:, order], size[order])


def leading_monomials(
    entries: Entries, frame: Frame, powers: Array, rho: float, tolerance: float, most: int
) -> tuple[Monomials, float] | None:
    """Chooses the monomials of ΔW = Σ_k p_k t^k.

    Args:
        entries: Of the layer.
        frame: Of the plan.
        powers: p_1 … p_d, those of entries that have grown as far as the plan has room for.
        rho: ρ, with t = z / ρ.
        tolerance: Relative error allowed in ΔW.
        most: Largest number to choose.

    Returns:
        The monomials and the relative error on the sample; None if ``most`` are not enough.
    """
    degree, r = len(powers), len(frame.size)
    if r > most:
        return None
    b = (entries.sampled_B @ frame.to_B).T
    a = frame.to_A @ entries.sampled_A
    t = entries.z / rho
    of_t = list(accumulate(repeat(t, degree), np.multiply))
    update = sum((power * of for power, of in zip(powers, of_t, strict=True)), np.zeros_like(t))
    norm = float(np.linalg.norm(update))

    exponents, weights, left, right = [], [], [], []
    leading: list[int] = []
    for k, level in zip(range(1, degree + 1), _levels(b, a, frame.size, degree, most), strict=False):
        count = r if k == 1 else _enough(of_t[k - 1], level)
        if sum(leading) + count > most:
            return None
        exponents.append(level.exponents)
        weights.append(level.weight * powers[k - 1])
        left.append(level.b)
        right.append(level.a)
        leading.append(count)
    first, rest = _in_order(weights, left, right, leading)
    order = np.concatenate([first, rest])
    weight = np.concatenate(weights)[order]
    rows, columns = np.concatenate(left)[order], np.concatenate(right)[order]
    rows = rows * weight[:, None]

    count = len(first)
    while True:
        error = float(np.linalg.norm(update - _product(rows[:count], columns[:count]))) / norm if norm > 0 else 0.0
        if error <= 0.9 * tolerance:
            break
        if count >= min(most, len(order)):
            return None
        count = min(most, len(order), count + max(1, count // 5))
    chosen = np.concatenate(exponents)[order[:count]]
    found = closed(chosen, r)
    return (found, error) if len(found.exponents) <= most else None


@dataclass(frozen=True)
class _Level:
    exponents: Array
    weight: Array  # (k!/α!) q^α
    b: Array
    a: Array


def _levels(b: Array, a: Array, size: Array, degree: int, most: int) -> Iterator[_Level]:
    """The candidates of degree 1, 2 …: each a parent of the degree below times a variable no earlier than its last."""
    r = len(size)
    level = _Level(np.eye(r, dtype=np.int64), size, b, a)
    last = np.arange(r)
    yield level
    for k in range(2, degree + 1):
        parent, variable = np.nonzero(last[:, None] <= np.arange(r))
        exponents = level.exponents[parent]
        exponents[np.arange(len(parent)), variable] += 1
        weight = level.weight[parent] * size[variable] * k / exponents[np.arange(len(parent)), variable]
        rows, columns = level.b[parent] * b[variable], level.a[parent] * a[variable]
        reach = np.abs(weight) * np.linalg.norm(rows, axis=1) * np.linalg.norm(columns, axis=1)
        top = np.argsort(-reach, kind="stable")[: max(POOL, most)]
        level = _Level(exponents[top], weight[top], rows[top], columns[top])
        last = variable[top]
        yield level


def _enough(power: Array, level: _Level) -> int:
    """Returns how many monomials, of a level in descending order, represent t^k to :data:`LEADING`."""
    norm, total = np.linalg.norm(power), len(level.weight)
    rows, count = level.b * level.weight[:, None], 1
    while count < total and np.linalg.norm(power - _product(rows[:count], level.a[:count])) > LEADING * norm:
        count = min(total, count + max(1, count // 3))
    return count


def _product(rows: Array, columns: Array) -> Array:
    """Returns rowsᵀ · columns, from pieces so small that BLAS takes one thread: waking others takes longer."""
    pieces = (slice(start, start + 48) for start in range(0, len(rows), 48))
    return np.asarray(sum(rows[piece].T @ columns[piece] for piece in pieces))


def _in_order(weights: list[Array], rows: list[Array], columns: list[Array], leading: list[int]) -> tuple[Array, Array]:
    """Returns the indices of the leading monomials of all levels, then of the others by what they add to ΔW."""
    starts = np.cumsum([0, *[len(weight) for weight in weights[:-1]]])
    first = np.concatenate([start + np.arange(count) for start, count in zip(starts, leading, strict=True)])
    everything = np.arange(sum(len(weight) for weight in weights))
    rest = np.setdiff1d(everything, first, assume_unique=True)
    reach = np.concatenate(
        [
            np.abs(weight) * np.linalg.norm(b, axis=1) * np.linalg.norm(a, axis=1)
            for weight, b, a in zip(weights, rows, columns, strict=True)
        ]
    )
    return first, rest[np.argsort(-reach[rest], kind="stable")]


def closed(exponents: Array, r: int) -> Monomials:
    """Returns the monomials with the factors that they are made from, in levels.

    A monomial is the product of two others, of half of its degree each where those are in the set, else of its parent
    and a variable.
    """
    wanted = [tuple(np.repeat(np.arange(r), row).tolist()) for row in exponents]
    members: set[tuple[int, ...]] = {(v,) for v in range(r)}
    for word in sorted(wanted, key=len):
        for length in range(1, len(word) + 1):
            members.add(word[:length])
    place: dict[tuple[int, ...], int] = {(v,): v for v in range(r)}
    level_of: dict[tuple[int, ...], int] = {(v,): 0 for v in range(r)}
    made_of: dict[tuple[int, ...], tuple[tuple[int, ...], tuple[int, ...]]] = {}
    by_level: dict[int, list[tuple[int, ...]]] = {}
    for word in sorted(members - set(place), key=lambda w: (len(w), w)):
        options: list[tuple[tuple[int, ...], tuple[int, ...]]] = [(word[:-1], word[-1:])]
        half = len(word) // 2
        for one in (word[:half], word[::2]):
            other = _without(word, one)
            if one in members and other in members:
                options.append((one, other))
        pair = min(options, key=lambda pair: max(level_of[pair[0]], level_of[pair[1]]))
        made_of[word] = pair
        level_of[word] = 1 + max(level_of[pair[0]], level_of[pair[1]])
        by_level.setdefault(level_of[word], []).append(word)
    levels = []
    for level in sorted(by_level):
        start = len(place)
        for word in by_level[level]:
            place[word] = len(place)
        left, right = ([place[made_of[word][side]] for word in by_level[level]] for side in (0, 1))
        levels.append((start, len(place), left, right))
    found = [[word.count(v) for v in range(r)] for word in place]
    return Monomials(np.array(found, dtype=np.int64).reshape(-1, r), levels)


def _without(word: tuple[int, ...], part: tuple[int, ...]) -> tuple[int, ...]:
    rest = list(word)
    for variable in part:
        rest.remove(variable)
    return tuple(rest)

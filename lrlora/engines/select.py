"""Which form evaluates a layer: the cheapest that meets the tolerance, by fixed constants for each kind of device.

The constants were measured and are fixed, so that the same run makes the same choices and gives the same digits. Only
their proportions matter. For a device whose proportions differ, ``lrlora bench calibrate`` measures others, and
``LRLORA_COSTS`` names the file they are in. The choice that a layer made is in its plan, which is saved with it.
"""

from __future__ import annotations

import functools
import json
import os
import warnings
from abc import abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lrlora.engines.differentiation import transforms_active
from lrlora.engines.direct import DirectEngine
from lrlora.engines.engine import Engine
from lrlora.engines.entries import SMALLEST, Entries
from lrlora.engines.entrywise import EntrywisePlan
from lrlora.engines.monomials import MonomialPlan
from lrlora.engines.plan import Plan
from lrlora.engines.polynomial import fit_polynomial
from lrlora.engines.table import fit_table
from lrlora.transfer import TransferFunction

TOKENS = 512
"""Tokens of the step that forms are compared at."""

HIGHEST_OF_MONOMIALS = 12
"""Past this degree the coefficients of powers cancel in float32, and monomials are many."""

HIGHEST_OF_SERIES = 64
MOST_MONOMIALS = 1024


@dataclass(frozen=True)
class Costs:
    """What parts of a training step cost on one kind of device, in nanoseconds.

    Attributes:
        product: Of a large product, per floating-point operation.
        thin_product: Of a product with one small side, per floating-point operation.
        entry: Of forming ΔW and its gradient, per entry.
        entry_and_degree: The same per entry and degree of the polynomial.
        table_entry: The same per entry, of a table.
        monomial: Of making a monomial and its gradient, per row and column.
        call: Fixed, of an evaluation through monomials beside that of an entrywise one.
    """

    product: float
    thin_product: float
    entry: float
    entry_and_degree: float
    table_entry: float
    monomial: float
    call: float

    def monomials(self, out_features: int, in_features: int, count: int) -> float:
        """Returns what ``count`` monomials add to the step of a frozen layer."""
        sides = out_features + in_features
        return count * sides * (6 * TOKENS * self.thin_product + self.monomial) + self.call

    def entrywise(self, out_features: int, in_features: int, per_entry: float) -> float:
        """Returns what an entrywise evaluation adds: the gradient product and the passes."""
        return out_features * in_features * (2 * TOKENS * self.product + per_entry)

    def series(self, degree: int) -> float:
        """Returns the passes of a polynomial, per entry."""
        return self.entry + degree * self.entry_and_degree


COSTS: dict[str, Costs] = {
    "cpu": Costs(1 / 150, 1 / 110, 0.8, 0.06, 5.0, 2.0, 0.0),
    # Not measured: from the data sheets of data-centre GPUs, bandwidth 2 TB/s, 20 TFLOP/s in float32.
    "cuda": Costs(1 / 20_000, 1 / 10_000, 0.03, 0.02, 0.1, 0.01, 0.0),
}
"""By kind of device; others are taken to be as ``cuda``."""

COSTS_FILE = "LRLORA_COSTS"
"""Environment variable that names a JSON file with constants by kind of device, which replace those above."""


def costs_of(device: torch.device) -> Costs:
    """Returns the constants of a kind of device.

    Raises:
        ValueError: If the file that ``LRLORA_COSTS`` names holds no constants.
    """
    return (COSTS | _from_file(os.environ.get(COSTS_FILE))).get(device.type, COSTS["cuda"])


def described_costs() -> dict[str, dict[str, float]]:
    """Returns the constants that ``LRLORA_COSTS`` puts in place of the fixed ones, as plain data."""
    return {device: asdict(costs) for device, costs in _from_file(os.environ.get(COSTS_FILE)).items()}


@functools.cache
def _from_file(path: str | None) -> dict[str, Costs]:
    if not path:
        return {}
    try:
        return {device: Costs(**found) for device, found in json.loads(Path(path).read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{COSTS_FILE}={path}: no constants of the cost model: {error}") from error


class PlannedEngine(Engine):
    """An engine that evaluates through a plan; inside of ``torch.func`` transforms by the definition."""

    plans: ClassVar[bool] = True

    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction, plan: Plan | None = None) -> Tensor:
        """See :meth:`Engine.delta`."""
        if transforms_active():
            return DirectEngine().delta(A, B, transfer)
        return (plan or self.plan(A, B, transfer)).delta(A, B, transfer)

    def linear(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        A: Tensor,
        B: Tensor,
        transfer: TransferFunction,
        plan: Plan | None = None,
    ) -> Tensor:
        """See :meth:`Engine.linear`."""
        if transforms_active():
            return DirectEngine().linear(x, weight, bias, A, B, transfer)
        return (plan or self.plan(A, B, transfer)).linear(x, weight, bias, A, B, transfer)

    def add_to(
        self, result: Tensor, x: Tensor, A: Tensor, B: Tensor, transfer: TransferFunction, plan: Plan | None = None
    ) -> Tensor:
        """See :meth:`Engine.add_to`."""
        if transforms_active():
            return DirectEngine().add_to(result, x, A, B, transfer)
        return (plan or self.plan(A, B, transfer)).add_to(result, x, A, B, transfer)

    def prefers_weight(self, plan: Any, tokens: int) -> bool:
        """See :meth:`Engine.prefers_weight`."""
        return plan is not None and bool(plan.prefers_weight(tokens))

    def plan(
        self, A: Tensor, B: Tensor, transfer: TransferFunction, *, growth: float = 1.0, previous: Plan | None = None
    ) -> Plan:
        """See :meth:`Engine.plan`."""
        try:
            entries = Entries.of(A, B, transfer.input_scale)
        except FloatingPointError:
            # Whatever the coefficients, the result is not finite where A and B are not. Zeros stand for them here.
            entries = Entries.of(torch.zeros_like(A), torch.zeros_like(B), transfer.input_scale)
        chosen = self._choose(_Search(entries, transfer, self.tolerance, growth, previous))
        return chosen.to(A.device, A.dtype)

    def restore(self, data: dict[str, Any]) -> Plan | None:
        """See :meth:`Engine.restore`."""
        forms: tuple[type[Plan], ...] = (MonomialPlan, EntrywisePlan)
        return next((form.from_dict(data) for form in forms if form.form == data.get("form")), None)

    @abstractmethod
    def _choose(self, search: _Search) -> Plan:
        """Returns the plan that this engine prefers, on the CPU."""


@dataclass(frozen=True)
class _Search:
    """The forms that could evaluate one layer, each looked for when it is asked for."""

    entries: Entries
    transfer: TransferFunction
    tolerance: float
    growth: float
    previous: Plan | None

    def monomials(self, most: int) -> MonomialPlan | None:
        """Returns a plan of at most ``most`` monomials, if there is one."""
        rho = max(self.entries.bound * self.growth * (1 + 1e-4), SMALLEST)
        fit = fit_polynomial(
            self.transfer,
            self.entries.sorted,
            rho,
            self.tolerance,
            highest=HIGHEST_OF_MONOMIALS,
            warp=2,
            growth=self.growth,
        )
        if fit is None:
            return None
        return MonomialPlan.made(self.entries, self.transfer, fit, self.tolerance, most, self.growth)

    def series(self) -> EntrywisePlan | None:
        """Returns a plan with a Chebyshev series, if there is one."""
        for highest in (16, HIGHEST_OF_SERIES):
            fit = fit_polynomial(
                self.transfer,
                self.entries.sorted,
                self._entrywise_range,
                self.tolerance,
                highest=highest,
                growth=self.growth,
            )
            if fit is not None:
                return EntrywisePlan.made(self.transfer, fit)
        return None

    def table(self) -> tuple[EntrywisePlan, bool]:
        """Returns a plan with a table, and whether it meets the tolerance."""
        start = 0
        if isinstance(self.previous, EntrywisePlan) and self.previous.table:
            start = self.previous.size // 2
        fit, good = fit_table(self.transfer, self.entries.sorted, self._entrywise_range, self.tolerance, start=start)
        return EntrywisePlan.made(self.transfer, fit), good

    @property
    def outgrew_monomials(self) -> bool:
        """Whether monomials were too many before, and entries have not become smaller: then no search finds fewer."""
        return isinstance(self.previous, EntrywisePlan) and self._entrywise_range >= self.previous.rho

    @property
    def costs(self) -> Costs:
        return costs_of(self.entries.A.device)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.entries.B), self.entries.A.shape[1]

    @property
    def _entrywise_range(self) -> float:
        return max(self.entries.peak * self.growth * (1 + 1e-4), SMALLEST)


class AutoEngine(PlannedEngine):
    """The cheapest form: monomials where few suffice, else a polynomial, else a table. It never fails."""

    def _choose(self, search: _Search) -> Plan:
        costs, (out_features, in_features) = search.costs, search.shape
        one = costs.monomials(out_features, in_features, 1) - costs.call
        budget = costs.entrywise(out_features, in_features, costs.series(HIGHEST_OF_MONOMIALS // 2)) - costs.call
        few = None
        if not search.outgrew_monomials:
            few = search.monomials(max(search.entries.A.shape[0], min(MOST_MONOMIALS, int(budget / one))))
        return few or search.series() or search.table()[0]


class MonomialEngine(PlannedEngine):
    """Monomials however many, up to 1,024; past that as ``auto``, with a warning."""

    def _choose(self, search: _Search) -> Plan:
        found = search.monomials(MOST_MONOMIALS)
        if found is None:
            _warn("monomials", f"{MOST_MONOMIALS:,} monomials of degree {HIGHEST_OF_MONOMIALS} or less")
        return found or search.series() or search.table()[0]


class PolynomialEngine(PlannedEngine):
    """A polynomial entry by entry, up to degree 64; past that a table, with a warning."""

    def _choose(self, search: _Search) -> Plan:
        found = search.series()
        if found is None:
            _warn("polynomial", f"a polynomial of degree {HIGHEST_OF_SERIES} or less")
        return found or search.table()[0]


class TabulatedEngine(PlannedEngine):
    """A table entry by entry, up to 32,768 cells; past that the largest, with a warning."""

    def _choose(self, search: _Search) -> Plan:
        found, good = search.table()
        if not good:
            _warn("tabulated", f"a table of {found.size:,} cells", "the largest table is used")
        return found


def _warn(engine: str, limit: str, instead: str = "another form is used") -> None:
    warnings.warn(
        f"engine={engine!r}: {limit} does not meet the tolerance for this φ and range; {instead}. "
        'engine="auto" chooses by tolerance and cost',
        RuntimeWarning,
        stacklevel=2,
    )

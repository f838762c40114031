"""How the cost of one layer goes with tokens, rank and grid points, beside what :mod:`.cost_model` makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrlora.engines import EngineError
from lrlora.studies.bench.comparing import Announce, Row, compare
from lrlora.studies.bench.cost_model import Rates, measure_rates
from lrlora.studies.bench.settings import Effort, Variant
from lrlora.studies.bench.subjects import LayerSubject
from lrlora.studies.bench.timing import interleave, summarise, warm_up

DENSE_ENGINES = ("polynomial", "tabulated")
"""Engines that evaluate every entry, in the order in which they stand in for one that may do otherwise."""

AT_ONE_TOKEN = Effort(steps=25, seconds=5.0, memory=False)


@dataclass(frozen=True)
class Constants:
    """What the model is given for one basis, engine and number of grid points.

    Attributes:
        engine: Whose passes were timed: the variant's own, if it is dense.
        rank: At which.
        ns_per_entry: c.
        lora_overhead_ms: What LoRA takes beside its products.
    """

    engine: str
    rank: int
    ns_per_entry: float
    lora_overhead_ms: float


class Scaling:
    """A sweep over one layer. Iterate :meth:`rows`; :attr:`rates` and :attr:`constants` are there afterwards."""

    def __init__(
        self,
        name: str,
        shape: tuple[int, int],
        tokens: Sequence[int],
        variants: Sequence[Variant],
        dtype: str,
        effort: Effort,
        announce: Announce,
    ) -> None:
        self._subjects = [LayerSubject(name, shape, count, dtype) for count in sorted({*tokens})]
        self._variants = variants
        self._effort = replace(effort, memory=False)
        self._announce = announce
        self.rates: Rates | None = None
        self.constants: dict[tuple[str, str, int], Constants] = {}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Measure; rows as of :class:`Row`, with what the model says beside."""
        first = self._subjects[0]
        self._announce("timing the products")
        ranks = [variant.rank for variant in self._variants]
        counts = [subject.token_count for subject in self._subjects]
        self.rates = measure_rates(first.shape, counts, ranks, first.dtype)
        for variant in self._variants:
            key = (variant.basis, variant.engine, variant.grid_points)
            if key not in self.constants and (found := self._calibrate(variant)) is not None:
                self.constants[key] = found
        for subject in self._subjects:
            for row in compare(subject, self._variants, self._effort, self._announce):
                yield self._with_model(row, subject.token_count)

    def summary(self) -> dict[str, Any]:
        """The rates and constants, and from how many tokens a step costs no more than twice LoRA's."""
        assert self.rates is not None, "rows() comes first"
        return {
            "rates": self.rates.to_dict(),
            "constants": [
                {
                    "basis": basis,
                    "engine": engine,
                    "grid_points": points,
                    "dense_engine": found.engine,
                    "rank": found.rank,
                    "ns_per_entry": found.ns_per_entry,
                    "lora_overhead_ms": found.lora_overhead_ms,
                    "tokens_for_twice": self.rates.tokens_for(
                        2.0, found.rank, found.ns_per_entry, found.lora_overhead_ms / 1e3
                    ),
                }
                for (basis, engine, points), found in self.constants.items()
            ],
        }

    def _with_model(self, row: Row, tokens: int) -> dict[str, Any]:
        assert self.rates is not None
        variant = row.variant
        found = self.constants.get((variant.basis, variant.engine, variant.grid_points))
        data = row.to_dict()
        if found is None:
            return data | {"model_ratio": None, "model_ours_ms": None, "model_lora_ms": None}
        ours = self.rates.dense_seconds(tokens, variant.rank, found.ns_per_entry)
        lora = self.rates.lora_seconds(tokens, variant.rank, found.lora_overhead_ms / 1e3)
        return data | {"model_ratio": ours / lora, "model_ours_ms": 1e3 * ours, "model_lora_ms": 1e3 * lora}

    def _calibrate(self, variant: Variant) -> Constants | None:
        """Time a step on one token, where next to nothing but the passes is left."""
        assert self.rates is not None
        own = variant.engine in DENSE_ENGINES
        subject = replace(self._subjects[0], token_count=1)
        for engine in (variant.engine,) if own else DENSE_ENGINES:
            self._announce(f"timing the passes of {engine} for {variant.basis}, N {variant.grid_points}")
            try:
                ours = subject.step(replace(variant, engine=engine).ours)
                lora = subject.step(variant.theirs)
                warm_up(ours, lora, None, AT_ONE_TOKEN.seconds)
                found = summarise(interleave(ours, lora, AT_ONE_TOKEN.steps, AT_ONE_TOKEN.seconds))
            except EngineError:
                continue
            return Constants(
                engine,
                variant.rank,
                self.rates.ns_per_entry(found.ours_ms / 1e3, variant.rank),
                1e3 * self.rates.lora_overhead(found.lora_ms / 1e3, variant.rank),
            )
        return None

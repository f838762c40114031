"""What a step of one layer should cost, from a few rates of the machine.

For a weight of m × n, T tokens and rank r, with x asking for a gradient as well:

- LoRA makes two products with the weight, x Wᵀ and g W, of 2·T·m·n operations each, and six thin products on the
  tokens, together 6·T·r·(m + n).
- A dense evaluation makes three products of 2·T·m·n, the third being the gradient gᵀ x of W + ΔW. It forms BA twice and
  takes the gradients of A and B, together 8·r·m·n in thin products. And it passes over the m·n entries to evaluate φ,
  φ' and the gradient of θ, at c nanoseconds an entry.

So the ratio falls with T toward 3/2, or below it by what LoRA's thin products weigh, and the passes are what it falls
from. Beside these, each method has what it does once a step whatever the size (the optimizer, Python); for LR-LoRA that
is part of c.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch

REPEATS = 7
LEAST_SECONDS = 2e-3
"""A time shorter than this is taken over several calls."""


@dataclass(frozen=True)
class Rates:
    """What the machine does in a second, at one weight.

    Attributes:
        shape: ``(out, in)``.
        product_gflops: Billions of operations of the products with the weight, by the number of tokens.
        thin_gflops: The same of products with a side of r, by r.
    """

    shape: tuple[int, int]
    product_gflops: dict[int, float]
    thin_gflops: dict[int, float]

    @property
    def entries(self) -> int:
        """m · n."""
        return self.shape[0] * self.shape[1]

    def products_seconds(self, count: int, tokens: int) -> float:
        """Of so many products of the tokens with the weight."""
        return count * 2 * tokens * self.entries / (1e9 * self.product_gflops[tokens])

    def thin_seconds(self, operations: float, rank: int) -> float:
        """Of so many operations in thin products."""
        return operations / (1e9 * self.thin_gflops[rank])

    def lora_seconds(self, tokens: int, rank: int, overhead: float) -> float:
        """A step of LoRA."""
        thin = self.thin_seconds(6 * tokens * rank * sum(self.shape), rank)
        return self.products_seconds(2, tokens) + thin + overhead

    def dense_seconds(self, tokens: int, rank: int, ns_per_entry: float) -> float:
        """A step of LR-LoRA under an engine that evaluates every entry."""
        thin = self.thin_seconds(8 * rank * self.entries, rank)
        return self.products_seconds(3, tokens) + thin + 1e-9 * ns_per_entry * self.entries

    def lora_overhead(self, measured: float, rank: int) -> float:
        """Seconds that a measured step of LoRA on one token has beside its products."""
        return max(0.0, measured - self.lora_seconds(1, rank, 0.0))

    def ns_per_entry(self, measured: float, rank: int) -> float:
        """c, from a measured step of LR-LoRA on one token, where there is little else."""
        return max(0.0, 1e9 * (measured - self.dense_seconds(1, rank, 0.0)) / self.entries)

    def tokens_for(self, ratio: float, rank: int, ns_per_entry: float, overhead: float) -> float | None:
        """From how many tokens a step costs no more than ``ratio`` times LoRA's, at the rate of the largest product.

        None where no number of tokens is enough: at about 3/2 and below.
        """
        rate = 1e9 * max(self.product_gflops.values())
        fixed = self.thin_seconds(8 * rank * self.entries, rank) + 1e-9 * ns_per_entry * self.entries
        ours = 6 * self.entries / rate
        lora = 4 * self.entries / rate + self.thin_seconds(6 * rank * sum(self.shape), rank)
        gain = ratio * lora - ours
        return max(0.0, (fixed - ratio * overhead) / gain) if gain > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure_rates(shape: tuple[int, int], tokens: Sequence[int], ranks: Sequence[int], dtype: str) -> Rates:
    """Time the products themselves."""
    m, n = shape
    kind = getattr(torch, dtype)
    weight = torch.randn(m, n, dtype=kind)

    def product(count: int) -> float:
        x, g = torch.randn(count, n, dtype=kind), torch.randn(count, m, dtype=kind)
        seconds = _seconds(lambda: x @ weight.T) + _seconds(lambda: g @ weight) + _seconds(lambda: g.T @ x)
        return 6 * count * m * n / seconds / 1e9

    def thin(rank: int) -> float:
        # The adapter and what is formed of it are float32, whatever the model is.
        A, B, G = torch.randn(rank, n), torch.randn(m, rank), torch.randn(m, n)
        seconds = _seconds(lambda: B @ A) + _seconds(lambda: G @ A.T) + _seconds(lambda: B.T @ G)
        return 6 * rank * m * n / seconds / 1e9

    counts = sorted({1, *tokens})
    return Rates(shape, {count: product(count) for count in counts}, {rank: thin(rank) for rank in sorted({*ranks})})


def _seconds(call: Any) -> float:
    """Median seconds of a call."""
    call()
    started = perf_counter()
    call()
    calls = max(1, round(LEAST_SECONDS / max(perf_counter() - started, 1e-7)))
    times = []
    for _ in range(REPEATS):
        started = perf_counter()
        for _ in range(calls):
            call()
        times.append((perf_counter() - started) / calls)
    return median(times)

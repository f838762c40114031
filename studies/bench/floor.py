"""What any method with an elementwise φ must add to a step of LoRA: the least that a step of LR-LoRA can take.

To a whole step of LoRA is added, for every adapted layer and with tensors of its shapes, bare work without autograd or
Python around it: the dense gradient product gᵀx, which a φ that bends forces upon every method, in float32; and then
the passes over the entries of the weight, one forward and one backward, of a polynomial of the degree that is used
there. What lies between this and LR-LoRA's step is overhead that could go; what lies below it could not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from lrlora.engines.passes import passes_of
from lrlora.studies.bench.settings import Effort, Variant
from lrlora.studies.bench.subjects import ModelSubject, TrainingStep
from lrlora.studies.bench.timing import interleave, summarise, warm_up

Shape = tuple[int, int]


@dataclass(frozen=True)
class Added:
    """Work that is added to a step.

    Attributes:
        name: In words.
        degree: Of the polynomial in the passes; None: no passes.
    """

    name: str
    degree: int | None

    def work(self, layers: Counter[Shape], tokens: int, rank: int) -> Callable[[], None]:
        """The work of all layers of one step; its tensors are shared by layers of one shape."""
        parts = [(self._layer(shape, tokens, rank), count) for shape, count in layers.items()]

        def run() -> None:
            for part, count in parts:
                for _ in range(count):
                    part()

        return run

    def _layer(self, shape: Shape, tokens: int, rank: int) -> Callable[[], None]:
        out_features, in_features = shape
        x, incoming = torch.randn(tokens, in_features), torch.randn(tokens, out_features)
        gradient = torch.empty(shape)
        if self.degree is None:
            return lambda: _product(incoming, x, gradient)
        A, B = torch.randn(rank, in_features), 0.1 / rank * torch.randn(out_features, rank)
        base, entries = torch.randn(shape), torch.empty(shape)
        passes = passes_of(self.degree)
        c = torch.randn(passes.degree + 1) * 0.1
        slope = torch.randn(passes.degree) * 0.1

        def run() -> None:
            passes.evaluate(B, A, base, entries, c)
            _product(incoming, x, gradient)
            torch.mm(B, A, out=entries)
            passes.pull_back_(entries, base, gradient, c, slope)

        return run


def _product(incoming: Tensor, x: Tensor, out: Tensor) -> None:
    torch.mm(incoming.T, x, out=out)


def measure_floor(
    subject: ModelSubject, ranks: Sequence[int], effort: Effort, announce: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """For each rank: LoRA with the product, with the product and the passes, and LR-LoRA, each beside LoRA.

    Args:
        subject: A model in float32.
        ranks: The ranks.
        effort: How much is measured.
        announce: Told what is going on, a line at a time.
    """
    for rank in ranks:
        variant = Variant("sinc", "auto", rank)
        lora = subject.step(variant.theirs)
        announce(f"{subject.name}: rank {rank}, LR-LoRA")
        ours = subject.step(variant.ours)
        ours()
        yield _row(subject, rank, "LR-LoRA", ours, lora, effort)
        degree = typical_degree(ours)
        del ours
        layers = adapted_shapes(lora)
        for added in (Added("LoRA and the products", None), Added("LoRA, products and passes", degree)):
            announce(f"{subject.name}: rank {rank}, {added.name}")
            yield _row(subject, rank, added.name, _Together(lora, added, layers, subject, rank), lora, effort)


class _Together:
    """A step of LoRA with work added to it."""

    def __init__(
        self, lora: TrainingStep, added: Added, layers: Counter[Shape], subject: ModelSubject, rank: int
    ) -> None:
        self._lora = lora
        self._work = added.work(layers, subject.batch * subject.length, rank)

    def __call__(self) -> None:
        self._lora()
        with torch.no_grad():
            self._work()


def _row(
    subject: ModelSubject, rank: int, name: str, step: Callable[[], object], lora: TrainingStep, effort: Effort
) -> dict[str, Any]:
    warmed = warm_up(step, lora, effort.warm_up, effort.seconds)
    found = summarise(interleave(step, lora, effort.steps, effort.seconds))
    return {
        "subject": subject.name,
        "tokens": subject.tokens,
        "rank": rank,
        "what": name,
        **found.to_dict(),
        "warm_up": vars(warmed),
    }


def adapted_shapes(step: TrainingStep) -> Counter[Shape]:
    """The shapes ``(out, in)`` of the layers that LoRA is in, each with how many there are."""
    return Counter(
        (module.out_features, module.in_features)
        for module in step.model.modules()
        if isinstance(module, LoraLayer) and "default" in module.lora_A
    )


def typical_degree(step: TrainingStep) -> int:
    """The commonest degree of the polynomials in an LR-LoRA model; 12 where there are none."""
    from lrlora.engines.fitted_polynomial import FittedPolynomial
    from lrlora.tuner.layer import LRLoraLayer

    degrees: Counter[int] = Counter()
    for module in step.model.modules():
        if isinstance(module, LRLoraLayer):
            fitted = module.lrlora_fits["default"].fitted(module)
            if isinstance(fitted, FittedPolynomial):
                degrees[fitted.degree] += 1
    return degrees.most_common(1)[0][0] if degrees else 12


def as_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A Markdown table of what was measured."""
    lines = ["| r | what | time, × LoRA | quartiles |", "| ---: | --- | ---: | ---: |"]
    for row in rows:
        low, high = row["quartiles"]
        lines.append(f"| {row['rank']} | {row['what']} | **{row['ratio']:.2f}** | {low:.2f} – {high:.2f} |")
    return lines

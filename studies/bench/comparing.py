"""Every variant against LoRA of its rank, on one subject after another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lrlora.engines import EngineError
from lrlora.studies.bench.memory import MemoryComparison, Peak, measure_peak
from lrlora.studies.bench.settings import Effort, Variant
from lrlora.studies.bench.subjects import Subject, TrainingStep
from lrlora.studies.bench.timing import Comparison, WarmUp, interleave, summarise, warm_up
from lrlora.studies.errors import StudyError
from lrlora.studies.memory import is_out_of_memory

Announce = Callable[[str], None]


@dataclass
class Row:
    """One variant on one subject.

    Attributes:
        subject, variant: What was measured.
        comparison: Times; None if it was refused.
        warm_up: What came before them.
        evaluation: What the engine did, in its own words.
        memory: Peak memory of both; None if not asked for, or not to be had.
        refused: Why there are no times: what the engine said, or that memory ran out.
    """

    subject: Subject
    variant: Variant
    comparison: Comparison | None = None
    warm_up: WarmUp | None = None
    evaluation: str = ""
    memory: MemoryComparison | None = None
    refused: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "subject": self.subject.name,
            "tokens": self.subject.tokens,
            "dtype": self.subject.dtype,
            **vars(self.variant),
            "evaluation": self.evaluation,
            **(self.comparison.to_dict() if self.comparison else {"ratio": None}),
            "warm_up": vars(self.warm_up) if self.warm_up else None,
            "memory": self.memory.to_dict() if self.memory else None,
            "refused": self.refused,
        }


def compare(
    subject: Subject, variants: Sequence[Variant], effort: Effort, announce: Announce, plugins: Sequence[str] = ()
) -> Iterator[Row]:
    """Measure every variant against LoRA; a row as soon as it is there.

    Args:
        subject: What is trained.
        variants: In the order in which they are measured; those of one rank together share their LoRA.
        effort: How much is measured.
        announce: Told what is going on, a line at a time.
        plugins: What the variants need registered in a process of their own.
    """
    lora = _LoRA(subject, plugins)
    for number, variant in enumerate(variants, start=1):
        announce(f"{subject.name} {number}/{len(variants)}: {describe(variant)}")
        row = Row(subject, variant)
        with _refusals(row):
            ours, theirs = subject.step(variant.ours), lora.step(variant)
            row.warm_up = warm_up(ours, theirs, effort.warm_up, effort.seconds)
            row.comparison = summarise(interleave(ours, theirs, effort.steps, effort.seconds))
            row.evaluation = ours.evaluation()
            del ours, theirs
        if effort.memory and row.comparison is not None:
            # After the times, so that nothing runs beside what is timed.
            try:
                peak = measure_peak(subject, variant.ours, torch.get_num_threads(), plugins=plugins)
                row.memory = MemoryComparison(peak, lora.peak(variant))
            except StudyError as error:
                announce(str(error))
        yield row


def describe(variant: Variant) -> str:
    """A variant in a few words."""
    return f"{variant.basis}, {variant.engine}, rank {variant.rank}, N {variant.grid_points}"


class _LoRA:
    """What variants are compared with, made once per rank."""

    def __init__(self, subject: Subject, plugins: Sequence[str]) -> None:
        self._subject = subject
        self._plugins = plugins
        self._step: tuple[int, TrainingStep] | None = None
        self._peaks: dict[int, Peak] = {}

    def step(self, variant: Variant) -> TrainingStep:
        if self._step is None or self._step[0] != variant.rank:
            self._step = variant.rank, self._subject.step(variant.theirs)
        return self._step[1]

    def peak(self, variant: Variant) -> Peak:
        if variant.rank not in self._peaks:
            threads = torch.get_num_threads()
            self._peaks[variant.rank] = measure_peak(self._subject, variant.theirs, threads, plugins=self._plugins)
        return self._peaks[variant.rank]


@contextlib.contextmanager
def _refusals(row: Row) -> Iterator[None]:
    """Note an engine's refusal in the row, and a lack of memory, which for ``direct`` is no bug."""
    try:
        yield
    except EngineError as error:
        row.refused = " ".join(str(error).split())
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        row.refused = "out of memory"

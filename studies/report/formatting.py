"""Numbers as the report prints them: one notation for the page, the Markdown and the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrlora.studies.stats.paired import PairedDifference

MISSING = "–"
FRACTIONS = frozenset(
    {
        *("accuracy", "balanced_accuracy", "exact_match", "f1", "macro_f1", "precision", "recall"),
        *("active_basis", "generalization_gap", "nonlinear_fraction"),
    }
)


@dataclass(frozen=True)
class Scale:
    """How a metric is printed: fractions as percentages, everything else as it is.

    Attributes:
        factor: What values are multiplied by.
        unit: Unit of a value, with a leading space, or nothing.
        difference_unit: Unit of a difference, likewise. Points, not per cent: a difference of percentages.
        digits: Decimals.
    """

    factor: float
    unit: str
    difference_unit: str
    digits: int

    @property
    def unit_in_words(self) -> str:
        """That of a difference, for a sentence."""
        return self.difference_unit.strip() or "the metric’s unit"

    @classmethod
    def of(cls, metric: str) -> Scale:
        """Returns the scale of a metric, by its name.

        >>> Scale.of("accuracy").value(0.8712), Scale.of("loss").value(0.31)
        ('87.12', '0.3100')
        """
        if metric in FRACTIONS:
            return cls(100.0, " %", " points", 2)
        return _SCALES.get(metric) or (cls(1.0, "", "", 0) if metric.startswith("parameters.") else cls(1.0, "", "", 4))

    def heading(self, metric: str) -> str:
        """Returns a metric with its unit, as the heading of a column or the label of an axis.

        >>> Scale.of("accuracy").heading("accuracy"), Scale.of("loss").heading("loss")
        ('accuracy, %', 'loss')
        """
        return metric + (f", {self.unit.strip()}" if self.unit else "")

    def value(self, value: float | None, *, signed: bool = False) -> str:
        """Returns the value without its unit."""
        return decimal(None if value is None else value * self.factor, self.digits, signed=signed)

    def spread(self, mean: float, std: float | None) -> str:
        """Mean ± standard deviation, without the unit."""
        return self.value(mean) + ("" if std is None else f" ± {self.value(std)}")

    def interval(self, low: float | None, high: float | None) -> str:
        """Returns an interval of differences in brackets; a dash where there is none."""
        if low is None or high is None:
            return MISSING
        return f"[{self.value(low, signed=True)}, {self.value(high, signed=True)}]"

    def found(self, difference: PairedDifference | None) -> str:
        """Returns a difference with its interval, without the unit; a dash if there is none."""
        if difference is None:
            return MISSING
        text = self.value(difference.mean, signed=True)
        return text if difference.low is None else f"{text} {self.interval(difference.low, difference.high)}"


_SCALES = {
    "step_seconds": Scale(1000.0, " ms", " ms", 1),
    "duration_seconds": Scale(1.0, " s", " s", 1),
    "peak_memory_bytes": Scale(2.0**-20, " MiB", " MiB", 1),
    "convergence_step": Scale(1.0, "", " steps", 0),
    "memorised": Scale(1.0, "", " examples", 1),
    "tokens_seen": Scale(1.0, "", " tokens", 0),
    "tokens_per_second": Scale(1.0, "", " tokens/s", 0),
}


def decimal(value: float | None, digits: int, *, signed: bool = False) -> str:
    """Returns a number with a fixed number of decimals and a real minus sign.

    >>> decimal(-0.5, 2), decimal(0.001, 2, signed=True), decimal(None, 2)
    ('−0.50', '0.00', '–')
    """
    if value is None:
        return MISSING
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if float(text) == 0.0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def significant(value: float | None, digits: int = 3) -> str:
    """Returns a number with so many significant digits, in plain notation where that is readable.

    >>> significant(0.01234), significant(0.0), significant(1.5e-7), significant(1234.0)
    ('0.0123', '0', '1.5e−7', '1234')
    """
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e5:
        text = f"{value:#.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
        return text.rstrip(".").replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}".replace("-", "−")


def count(value: tuple[int, int] | None) -> str:
    """Returns a count, or the range of one.

    >>> count((16800, 16800)), count((1000, 2000))
    ('16,800', '1,000–2,000')
    """
    if value is None:
        return MISSING
    low, high = value
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def probability(p: float | None) -> str:
    """Returns a p value as journals print it.

    >>> probability(0.0312), probability(0.00004), probability(0.9999)
    ('.031', '< .001', '> .99')
    """
    if p is None:
        return MISSING
    if p < 0.001:
        return "< .001"
    return "> .99" if p > 0.995 else f"{p:.3f}".lstrip("0")


def equals_probability(p: float) -> str:
    """``p = .031`` or ``p < .001``, for a sentence."""
    text = probability(p)
    return f"p {text}" if text[0] in "<>" else f"p = {text}"


def percentage(fraction: float | None) -> str:
    """Returns a fraction in per cent, with digits enough to tell a small one from none.

    >>> percentage(0.1234), percentage(0.0004), percentage(0.0), percentage(1e-7)
    ('12.3 %', '0.04 %', '0 %', '< 0.01 %')
    """
    if fraction is None:
        return MISSING
    if fraction == 0:
        return "0 %"
    if fraction < 1e-4:
        return "< 0.01 %"
    return f"{100 * fraction:.1f} %" if fraction >= 0.01 else f"{100 * fraction:.2f} %"


def listed(names: list[str]) -> str:
    """Names as a sentence lists them.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def at_steps(steps: Sequence[int | None]) -> str:
    """Returns where cells diverged, with a leading space; nothing where that is not known.

    >>> at_steps([60, 60]), at_steps([12, None, 7]), at_steps([None])
    (' at step 60', ' at steps 7 and 12', '')
    """
    known = sorted({step for step in steps if step is not None})
    return f" at step{'s' if len(known) > 1 else ''} {listed([str(step) for step in known])}" if known else ""


def plural(number: int, noun: str) -> str:
    """Returns a number and its noun.

    >>> plural(1, "seed"), plural(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")

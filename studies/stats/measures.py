"""Measures of a run beside its metric, by name: what claims, tables and data files use.

A name is a metric of the test split (``accuracy``), a field of the record (``step_seconds``), a dotted one
(``parameters.adapter``), or one of :data:`DERIVED`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from statistics import fmean, stdev

import numpy as np

from lrlora.studies.stats.source import Record, finite, metric_value

SETTLED = 0.05
"""A loss has converged from where it is within this share of its total decrease of its final value."""

STANDARD_ERRORS = 2
"""How far above the majority baseline an accuracy may be to count as one that is level with it."""

SMALLEST_EFFECTS = {
    "accuracy": 0.005,
    "generalization_gap": 0.005,
    "loss": 0.01,
    "diverged": 0.1,
    "nonlinear_fraction": 0.01,
    "active_basis": 0.05,
    "svd_ratio": 0.01,
    "relative_error": 0.01,
    "rank_correlation": 0.1,
    "memorised": 0.005,
    "stable_rank": 0.5,
    "stable_rank_std": 0.5,
}
"""Smallest effects of interest where a claim declares none, in the unit of the metric; a trend's is per unit of x."""

SMALLEST_RELATIVE = 0.01
"""The same for relative claims: one per cent."""

PUBLISHED_UNITS = {"accuracy": 0.01, "generalization_gap": 0.01, "diverged": 1.0}
"""What a published value is multiplied by to be in the unit of the metric. Others are on scales of their own."""


def measure(record: Record, name: str) -> float | None:
    """A measure of a finished run; None if it was not recorded or is not finite. ``diverged`` is one of any run."""
    if name == "diverged":
        return float(record.get("status") == "diverged")
    if record.get("status") != "finished":
        return None
    found = metric_value(record, name)
    if found is not None:
        return found
    if name in DERIVED:
        return DERIVED[name][0](record)
    here: object = record
    for part in name.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return finite(here)


def is_measure(name: str, metrics: tuple[str, ...] = ()) -> bool:
    """Whether a name is that of a measure."""
    return name in metrics or name in DERIVED or name in _FIELDS or name == "diverged"


def convergence_step(record: Record) -> float | None:
    """The first step from which the smoothed training loss stays within 5 % of its decrease of its final level.

    The loss is averaged over a twentieth of the run. The LR-LoRA paper gives convergence in iterations without saying
    what counts as converged; this is our definition. None for fewer than twenty steps, or where the loss did not fall.
    """
    losses = [value for value in map(finite, record.get("train_loss") or ()) if value is not None]
    if len(losses) < 20:
        return None
    window = len(losses) // 20
    smooth = np.convolve(losses, np.full(window, 1 / window), mode="valid")
    fall = smooth[0] - smooth[-1]
    if not fall > 0:
        return None
    above = np.flatnonzero(smooth > smooth[-1] + SETTLED * fall)
    return float(above[-1] + 1 + window)


def generalization_gap(record: Record) -> float | None:
    """Accuracy on the training split less that on the test split (LR-LoRA paper, Table 15)."""
    test = metric_value(record, "accuracy")
    train = finite((record.get("train_metrics") or {}).get("accuracy"))
    return None if test is None or train is None else train - test


def at_chance(record: Record) -> bool:
    """Whether a finished run that was trained is within 2 SE of the majority baseline, or below it.

    The baseline is ``chance`` in the record: the share of the most frequent class, or for multiple choice one in as
    many as there are options. SE is the standard error of that accuracy on as many test examples as the run was
    given; 0 if it was given the whole split, whose size a record does not have.

    >>> cell = {"status": "finished", "method": "lora", "chance": 0.5, "training": {"test_examples": 100}}
    >>> [at_chance(cell | {"metrics": {"accuracy": found}}) for found in (0.55, 0.65)]
    [True, False]
    """
    chance, accuracy = finite(record.get("chance")), metric_value(record, "accuracy")
    if record.get("method") == "frozen" or chance is None or accuracy is None:
        return False
    return accuracy <= chance_bound(chance, (record.get("training") or {}).get("test_examples"))


def chance_bound(chance: float, examples: int | None) -> float:
    """Returns the largest accuracy that counts as level with a baseline of ``chance``.

    Args:
        chance: Accuracy of the majority baseline.
        examples: On how many examples accuracy is measured; None for a whole split of unknown size.
    """
    error = sqrt(chance * (1 - chance) / examples) if examples else 0.0
    return chance + STANDARD_ERRORS * error


def tokens_per_second(record: Record) -> float | None:
    """Tokens of training per second: as recorded, or else all tokens over the steps at their median time."""
    recorded = finite(record.get("tokens_per_second"))
    tokens, step = finite(record.get("tokens_seen")), finite(record.get("step_seconds"))
    steps = len(record.get("train_loss") or ())
    if recorded is not None or not (tokens and step and steps):
        return recorded
    return tokens / (steps * step)


def _over_layers(field: str, of: Callable[[list[float]], float | None]) -> Callable[[Record], float | None]:
    def compute(record: Record) -> float | None:
        found = [value for layer in record.get("layers") or () if (value := finite(layer.get(field))) is not None]
        return of(found)

    return compute


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def _std(values: list[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


DERIVED: dict[str, tuple[Callable[[Record], float | None], str]] = {
    "stable_rank": (_over_layers("stable_rank", _mean), "mean over layers of the stable rank of ΔW"),
    "stable_rank_std": (_over_layers("stable_rank", _std), "standard deviation over layers of the stable rank of ΔW"),
    "nonlinear_fraction": (_over_layers("nonlinear_fraction", _mean), "mean over layers of the nonlinear fraction"),
    "active_basis": (
        _over_layers("active_basis", _mean),
        "mean over layers of the share of basis functions whose amplitude is at least 1 % of the layer's largest",
    ),
    "convergence_step": (
        convergence_step,
        "first step from which the smoothed training loss stays within 5 % of its decrease of its final level",
    ),
    "generalization_gap": (generalization_gap, "accuracy on the training split less that on the test split"),
    "tokens_per_second": (
        tokens_per_second,
        "training tokens, padding not counted, over the number of steps times the median step time",
    ),
}
"""Measures that are computed from a record, each with its definition."""

_FIELDS = (
    "step_seconds",
    "peak_memory_bytes",
    "duration_seconds",
    "tokens_seen",
    *(f"parameters.{kind}" for kind in ("trainable", "adapter", "transfer", "total")),
)

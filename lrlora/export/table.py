"""The losses of an export as LoRA, layer by layer: as data, as JSON, and as a Markdown table."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MUCH = 0.3
"""Above this relative error the verdict says that much of the adapter is lost."""

_HEAD = """\
# What this LoRA adapter loses

{verdict}

The error is ‖ΔW − BA‖ / ‖ΔW‖ in the Frobenius norm, measured on the factors in this folder. The last two columns are \
the smallest ranks with an error of at most 10 % and 1 %.

| module | ΔW | ‖ΔW‖ | rank | error | rank for 10 % | rank for 1 % |
| --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class LayerTruncation:
    """The truncation of the update of one module.

    Attributes:
        module: Its name in the base model.
        rows, columns: Of ΔW as a matrix.
        rank: Of the product that replaces ΔW.
        norm: ‖ΔW‖_F.
        error: ‖ΔW − B'A'‖_F / ‖ΔW‖_F, measured on the stored B' and A'; 0 for ΔW = 0.
        rank_for_10_percent, rank_for_1_percent: The smallest ranks whose best product has an error of at most that;
            None if the singular values were not computed.
        exact: Whether B' and A' are the adapter's own factors, since φ is linear.
    """

    module: str
    rows: int
    columns: int
    rank: int
    norm: float
    error: float
    rank_for_10_percent: int | None = None
    rank_for_1_percent: int | None = None
    exact: bool = False


def summarize(rows: Sequence[LayerTruncation]) -> dict[str, Any]:
    """Returns the figures of all layers together.

    Returns:
        ``layers``; ``error``, the relative error of all updates as one vector; ``kept``, the share of the squared norm
        that is kept, 1 − error²; ``worst_module`` and ``worst_error``; ``smallest_rank`` and ``largest_rank``.
    """
    norm = math.hypot(*(row.norm for row in rows))
    error = math.hypot(*(row.norm * row.error for row in rows)) / norm if norm > 0 else 0.0
    worst, ranks = max(rows, key=lambda row: row.error), [row.rank for row in rows]
    found: dict[str, Any] = {"layers": len(rows), "error": error, "kept": 1 - error**2}
    found |= {"worst_module": worst.module, "worst_error": worst.error}
    return {**found, "smallest_rank": min(ranks), "largest_rank": max(ranks)}


def verdict(rows: Sequence[LayerTruncation]) -> str:
    """Returns one sentence on what was kept, and a second one if that is not much."""
    if all(row.exact for row in rows):
        return f"Exact: φ is linear in all {len(rows)} layers, and the factors are the adapter's own."
    total = summarize(rows)
    low, high = total["smallest_rank"], total["largest_rank"]
    said = (
        f"{f'Rank {low}' if low == high else f'Ranks {low} to {high}'}: a relative error of {_percent(total['error'])} "
        f"over all updates, which keeps {100 * total['kept']:.2f} % of their squared norm, and of "
        f"{_percent(total['worst_error'])} in the worst layer, {total['worst_module']}."
    )
    return said if total["error"] <= MUCH else f"{said} Much of the adapter is lost: take a higher rank, or merge."


def write_tables(rows: Sequence[LayerTruncation], folder: Path) -> None:
    """Writes ``truncation.json`` and ``truncation.md`` into a folder."""
    text = json.dumps({"summary": summarize(rows), "layers": [asdict(row) for row in rows]}, indent=1)
    (folder / "truncation.json").write_text(text + "\n", encoding="utf-8")
    (folder / "truncation.md").write_text(markdown(rows), encoding="utf-8")


def markdown(rows: Sequence[LayerTruncation]) -> str:
    """Returns the table as Markdown, below its verdict."""
    lines = [
        f"| {row.module} | {row.rows} × {row.columns} | {row.norm:.4g} | {row.rank} | {_percent(row.error)} "
        f"| {row.rank_for_10_percent or '–'} | {row.rank_for_1_percent or '–'} |\n"
        for row in rows
    ]
    return _HEAD.format(verdict=verdict(rows)) + "".join(lines)


def _percent(fraction: float) -> str:
    """Three significant digits, so that a small loss does not read as none.

    >>> _percent(0.0), _percent(0.1234), _percent(2e-7)
    ('0 %', '12.3 %', '2e-05 %')
    """
    return f"{100 * fraction:.3g} %"

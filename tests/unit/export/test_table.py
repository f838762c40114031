"""What the table says of a truncation: the sums over layers, the sentence on top, and that JSON and Markdown agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrlora.export.table import LayerTruncation, markdown, summarize, verdict, write_tables

ROWS = [
    LayerTruncation("first", 4, 6, rank=2, norm=3.0, error=0.1, rank_for_10_percent=2, rank_for_1_percent=4),
    LayerTruncation("second", 4, 4, rank=1, norm=4.0, error=0.5),
    LayerTruncation("untrained", 4, 4, rank=1, norm=0.0, error=0.0),
]


def test_layers_are_summed_as_one_vector() -> None:
    summary = summarize(ROWS)
    assert summary["error"] == pytest.approx(((0.3**2 + 2.0**2) / 25) ** 0.5)
    assert summary["kept"] == pytest.approx(1 - summary["error"] ** 2)
    assert (summary["worst_module"], summary["worst_error"]) == ("second", 0.5)
    assert (summary["smallest_rank"], summary["largest_rank"]) == (1, 2)


def test_the_verdict_names_the_worst_layer_and_says_what_is_lost() -> None:
    said = verdict(ROWS)
    assert said.startswith("Ranks 1 to 2: a relative error of 40.4 % over all updates, which keeps 83.64 %")
    assert "of 50 % in the worst layer, second. Much of the adapter is lost" in said
    assert verdict(ROWS[:1]).startswith("Rank 2: a relative error of 10 %")
    assert "Much of the adapter is lost" not in verdict(ROWS[:1])
    assert verdict(ROWS[2:]).startswith("Rank 1: a relative error of 0 %")
    exact = LayerTruncation("only", 4, 4, rank=2, norm=1.0, error=0.0, exact=True)
    assert verdict([exact]).startswith("Exact")
    assert not verdict([exact, ROWS[0]]).startswith("Exact")


def test_json_and_markdown_hold_every_layer(tmp_path: Path) -> None:
    write_tables(ROWS, tmp_path)
    found = json.loads((tmp_path / "truncation.json").read_text())
    assert [LayerTruncation(**row) for row in found["layers"]] == ROWS
    assert found["summary"] == summarize(ROWS)
    text = (tmp_path / "truncation.md").read_text()
    assert text == markdown(ROWS)
    assert "| first | 4 × 6 | 3 | 2 | 10 % | 2 | 4 |" in text
    assert "| second | 4 × 4 | 4 | 1 | 50 % | – | – |" in text

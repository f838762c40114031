"""The floor adds to LoRA's step exactly the work of its layers."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from lrlora.studies.bench.floor import Added, adapted_shapes, as_lines
from lrlora.studies.bench.subjects import LayerSubject


def test_the_products_are_those_of_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int, int]] = []
    product = torch.mm

    def noted(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        made.append((a.shape[0], a.shape[1], b.shape[1]))
        return product(a, b, out=out)

    monkeypatch.setattr(torch, "mm", noted)
    Added("products", None).work(Counter({(6, 4): 2, (5, 3): 1}), tokens=7, rank=2)()
    assert Counter(made) == Counter({(6, 7, 4): 2, (5, 7, 3): 1})


def test_the_passes_run_at_any_degree() -> None:
    for degree in (1, 5, 12, 28):
        Added("passes", degree).work(Counter({(6, 4): 1}), tokens=3, rank=2)()


def test_the_shapes_are_those_that_lora_is_in() -> None:
    step = LayerSubject("layer", (6, 4), 3).step({"method": "lora", "r": 2, "lora_alpha": 2.0})
    assert adapted_shapes(step) == Counter({(6, 4): 1})


def test_the_table_has_a_line_per_measurement() -> None:
    row = {"rank": 4, "what": "LR-LoRA", "ratio": 1.3, "quartiles": (1.2, 1.4)}
    assert as_lines([row])[-1] == "| 4 | LR-LoRA | **1.30** | 1.20 – 1.40 |"

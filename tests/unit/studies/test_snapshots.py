"""Looks at a run that goes on: at the right steps, of the right layers, small, and without a trace in the run."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn

from lrlora import LRLoraConfig
from lrlora.analysis import layer_report
from lrlora.studies.training.limits import Limits
from lrlora.studies.training.snapshots import SHARES, Snapshots, representative, snapshot_of


def bert(layers: int = 3) -> nn.Module:
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=24
    )
    return hf.BertForSequenceClassification(config)


def adapted(layers: int = 3, **fields: Any) -> Any:
    return get_peft_model(bert(layers), LRLoraConfig(r=2, init_weights=False, input_scale=20, **fields))


@given(steps=st.integers(1, 300))
def test_a_run_of_any_length_is_looked_at_early_half_way_and_after_its_last_step(steps: int) -> None:
    limits, taken = Limits(steps), []
    looks = Snapshots(nn.Linear(1, 1), limits, taken)
    for step in range(1, steps + 1):
        state: Any = SimpleNamespace(global_step=step)
        for callback in (limits, looks):
            callback.on_step_end(None, state, SimpleNamespace())  # type: ignore[arg-type]
    assert [look["step"] for look in taken] == sorted({math.ceil(share * steps - 1e-9) for share in SHARES})
    assert taken[-1] == {"step": steps, "share": 1.0, "stable_rank": {}, "curves": []}


def test_every_layer_has_a_stable_rank_and_each_projection_three_curves() -> None:
    model = adapted(layers=5)
    look = snapshot_of(model)
    reports = {report.module: report.stable_rank for report in layer_report(model)}
    assert look["stable_rank"] == pytest.approx(reports, rel=1e-3)
    places = sorted((curve["role"], curve["depth"], curve["place"]) for curve in look["curves"])
    chosen = [(0, "early"), (2, "middle"), (4, "late")]
    assert places == sorted((role, *place) for role in ("q", "k", "v", "o", "up", "down") for place in chosen)


def test_before_the_entries_have_moved_there_is_no_range_to_draw_a_curve_over() -> None:
    look = snapshot_of(get_peft_model(bert(), LRLoraConfig(r=2)))
    assert set(look["stable_rank"].values()) == {0.0}
    assert look["curves"] == []


def test_of_lora_there_are_ranks_and_no_curves() -> None:
    model = get_peft_model(bert(), LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights="gaussian"))
    look = snapshot_of(model)
    assert len(look["stable_rank"]) == 6
    assert look["curves"] == []


def test_one_layer_is_early_and_late_at_once_and_modules_outside_the_layers_are_left_out() -> None:
    chosen = representative(["model.layers.0.self_attn.q_proj", "lm_head"], "llama")
    assert chosen == {"model.layers.0.self_attn.q_proj": {"role": "q", "depth": 0, "place": "late"}}


def test_a_record_stays_small_whatever_the_depth_of_the_model() -> None:
    look = snapshot_of(adapted(layers=24))
    assert len(json.dumps([look] * len(SHARES), indent=1, allow_nan=False)) < 200_000


def test_what_is_not_finite_is_left_out() -> None:
    model = adapted()
    name, module = next((name, m) for name, m in model.named_modules() if hasattr(m, "lrlora_A"))
    with torch.no_grad():
        module.lrlora_A["default"].weight.fill_(math.inf)
    look = snapshot_of(model)
    name = name.removeprefix("base_model.model.")
    assert name not in [curve["module"] for curve in look["curves"]]
    assert look["stable_rank"][name] is None
    json.dumps(look, allow_nan=False)


def test_a_look_leaves_no_trace_in_training() -> None:
    def losses(looking: bool) -> list[float]:
        model = adapted().train()
        torch.manual_seed(1)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        found = []
        for _ in range(5):
            batch = {"input_ids": torch.randint(0, 32, (4, 6)), "labels": torch.tensor([0, 1, 0, 1])}
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if looking:
                snapshot_of(model)
            found.append(loss.item())
        return found

    assert losses(looking=True) == losses(looking=False)

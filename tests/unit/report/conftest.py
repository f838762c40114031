"""Synthetic study results. For tests only: every number in here is made up."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lrlora.studies.spec.claims import Claim, Comparison

ROLES = ("q", "k", "v", "o", "up", "down")
EFFECTS = {"lora": 0.0, "sinc": 0.006, "gaussian": 0.011, "bspline": 0.002, "fourier": -0.004, "polynomial": -0.013}
PAPER = {
    "source": "Table 13",
    "setting": "Qwen2-0.5B, commonsense 170k",
    "values": {
        "sinc": {"mean": 61.1, "std": 0.2},
        "gaussian": {"mean": 60.4, "std": 0.3},
        "polynomial": {"mean": 58.1, "std": 0.6},
        "lora": {"mean": 57.3, "std": 0.2},
    },
}


@dataclass
class Metric:
    name: str = "accuracy"
    direction: str = "maximize"


@dataclass
class Study:
    name: str = "basis"
    question: str = (
        "Does the choice of basis change what LR-LoRA reaches, and does any basis beat LoRA of the same rank?"
    )
    reference: str | None = "lora"
    metric: Metric = field(default_factory=Metric)
    paper: dict[str, Any] | None = field(default_factory=lambda: PAPER)
    comparisons: list[Comparison] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)


@dataclass
class Results:
    out: Path
    records: list[dict[str, Any]]
    study: Study = field(default_factory=Study)
    budget: str = "quick"
    planned: int = 18
    environment: dict[str, Any] = field(
        default_factory=lambda: {
            "python": "3.11.9",
            "processor": "Some CPU",
            "packages": {"torch": "2.13.0", "peft": "0.21.2"},
            "git": {"commit": "0123456789abcdef", "dirty": False},
            "date": "2024-02-29",
        }
    )


def make_record(
    variant: str = "sinc",
    seed: int = 42,
    *,
    task: Any = "sarcasm",
    steps: int = 100,
    accuracy: float | None = None,
    bend: float = 0.06,
    **changes: Any,
) -> dict[str, Any]:
    """A finished cell; ``changes`` overwrite whole fields."""
    digest = hashlib.sha256(f"{variant}/{seed}/{task}".encode()).digest()
    own = np.random.default_rng(int.from_bytes(digest[:4], "big"))
    shared = np.random.default_rng(seed)  # what a seed does to all variants alike
    effect = EFFECTS.get(variant, 0.0)
    is_lora = variant == "lora"
    score = accuracy if accuracy is not None else 0.86 + effect + shared.normal(0, 0.006) + own.normal(0, 0.003)
    decay = np.exp(-np.arange(steps) / (steps / 5))
    loss = 0.35 - 3 * effect + 0.35 * decay + own.normal(0, 0.05, steps)
    return {
        "cell": digest.hex()[:12],
        "study": "basis",
        "variant": variant,
        "axes": {} if is_lora else {"basis": variant},
        "method": "lora" if is_lora else "lrlora",
        "seed": seed,
        "task": task,
        "backbone": "minilm",
        "config": {"r": 4, "target_modules": ["query", "key"], "basis": None if is_lora else variant},
        "training": {"steps": steps, "learning_rate": 1e-3, "batch_size": 32, "weight_decay": 0.0},
        "status": "finished",
        "diverged_at": None,
        "reason": None,
        "metrics": {"accuracy": float(score), "loss": float(1 - score)},
        "parameters": {
            "trainable": 148_226 if is_lora else 151_826,
            "adapter": 147_456 if is_lora else 151_056,
            "transfer": 0 if is_lora else 3_600,
            "total": 22_861_058,
        },
        "step_seconds": float(0.22 * (1 if is_lora else 1.3) * (1 + own.normal(0, 0.02))),
        "peak_memory_bytes": int(900 * 2**20 * (1 if is_lora else 1.1)),
        "peak_memory_source": "resident set",
        "train_loss": loss.tolist(),
        "learning_rate": [1e-3] * steps,
        "grad_norm": [1.0] * steps,
        "validation": [{"step": steps, "accuracy": float(score), "loss": 0.4}],
        "layers": [_layer(role, depth, is_lora, bend, own) for depth in range(6) for role in ROLES],
        "mlflow_run_id": digest.hex()[:32],
        "duration_seconds": 25.0,
    } | changes


def _layer(role: str, depth: int, is_lora: bool, bend: float, own: np.random.Generator) -> dict[str, Any]:
    return {
        "module": f"encoder.layer.{depth}.{role}",
        "role": role,
        "depth": depth,
        "r": 4,
        "stable_rank": 1.5 + 0.15 * depth + float(own.uniform(0, 0.4)),
        "nonlinear_fraction": 0.0 if is_lora else bend * float(own.uniform(0.5, 1.5)),
        "max_abs_z": None if is_lora else float(own.uniform(0.5, 2.0)),
        "outside_grid": None if is_lora else 0.0,
        "evaluation": "product" if is_lora else f"polynomial of degree {4 + depth} on |z| ≤ 0.2",
    }


def diverged(variant: str, seed: int, step: int) -> dict[str, Any]:
    """A cell whose loss became NaN at a step."""
    record = make_record(variant, seed)
    loss = [*record["train_loss"][: step - 3], 4.0, 30.0, math.nan]
    return record | {
        "status": "diverged",
        "diverged_at": step,
        "reason": "the loss is not finite",
        "metrics": {},
        "layers": [],
        "train_loss": loss,
    }


def full_records(seeds: tuple[int, ...] = (42, 123, 456)) -> list[dict[str, Any]]:
    """Every variant at every seed."""
    bends = {"bspline": 0.004}
    return [make_record(v, seed, bend=bends.get(v, 0.06)) for seed in seeds for v in [*list(EFFECTS)[1:], "lora"]]


def on_tasks(
    tasks: Sequence[str] = ("boolq", "piqa", "siqa", "arc", "obqa"),
    backbones: Sequence[str] = ("minilm",),
    seeds: Sequence[int] = (1, 2, 3),
) -> list[dict[str, Any]]:
    """Every variant on several tasks and backbones, each task with a level of its own."""
    found = []
    for depth, backbone in enumerate(backbones):
        for level, task in enumerate(tasks):
            for seed in seeds:
                for name in ("lora", *[name for name in EFFECTS if name != "lora"]):
                    record = make_record(name, seed, task=f"{task}{depth or ''}", steps=40)
                    score = record["metrics"]["accuracy"] - 0.04 * level + 0.02 * depth
                    metrics = {"accuracy": score, "loss": 1 - score}
                    found.append(record | {"task": task, "backbone": backbone, "metrics": metrics})
    return found


def ranks_study() -> Study:
    """A study along a number, with a trend among its claims and the paper's figures for it."""
    trend = Claim(
        says="The gain shrinks as r grows",
        kind="trend",
        of="method=lrlora,r=*",
        against="method=lora,r=*",
        sign="negative",
        paper=[5.3, 4.2, 3.8, 3.2],
        source="Table 12",
    )
    comparisons = [Comparison(of=trend.of, against=str(trend.against))]
    return Study(name="base-rank", reference="method=lora,r=4", paper=None, comparisons=comparisons, claims=[trend])


def along_ranks(seeds: Sequence[int] = (1, 2, 3), ranks: Sequence[int] = (4, 8, 16, 32)) -> list[dict[str, Any]]:
    """LoRA and LR-LoRA at several ranks."""
    found = []
    for seed in seeds:
        for r in ranks:
            for method, gain in (("lora", 0.0), ("lrlora", 0.05 - 0.01 * math.log2(r))):
                name = f"method={method},r={r}"
                own = np.random.default_rng(seed + 100 * r + 7 * len(method))
                score = 0.8 + 0.01 * math.log2(r) + gain + own.normal(0, 0.002)
                counts = {"trainable": 9000 * r, "adapter": 8000 * r, "transfer": 0 if method == "lora" else 3600}
                found.append(
                    make_record(name, seed, accuracy=score, method=method, parameters=counts, axes={"r": r}, steps=60)
                )
    return found


@pytest.fixture
def synthetic(tmp_path: Path) -> SimpleNamespace:
    """Makers of synthetic cells and results."""

    def results(records: list[dict[str, Any]] | None = None, **changes: Any) -> Results:
        found = full_records() if records is None else records
        return Results(tmp_path / "study", found, **({"planned": len(found)} | changes))

    return SimpleNamespace(
        record=make_record,
        diverged=diverged,
        full=full_records,
        on_tasks=on_tasks,
        along_ranks=along_ranks,
        ranks_study=ranks_study,
        results=results,
        Study=Study,
        Metric=Metric,
    )

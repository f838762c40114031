"""Training steps of a pretrained model, after sixty optimizer steps on real data, interleaved in one process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lrlora.studies.bench.compared import Configs
from lrlora.studies.bench.operations import operations_per_layer
from lrlora.studies.bench.timing import interleave, ratios_to
from lrlora.studies.bench.trained import TrainedModel, Workload
from lrlora.studies.bench.worker import run_worker

TRAINED_STEPS = 60


def measure_steps(
    workload: Workload,
    configs: Configs,
    reference: str,
    rounds: int,
    announce: Callable[[str], None],
    trained_steps: int = TRAINED_STEPS,
    alone: bool = True,
    plugins: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Returns a row per method: the ratio of its step's time to the reference's, operations, first step and memory.

    Args:
        workload: The model and the size of a step.
        configs: By name.
        reference: The name of the one that ratios are to.
        rounds: Counted steps of each.
        announce: Told what goes on.
        trained_steps: Optimizer steps before counting.
        alone: Whether each method is measured in a fresh process too, for its first step and its peak memory.
        plugins: Files or modules that register what the configurations name.

    Raises:
        StudyError: A process failed.
    """
    trained: dict[str, TrainedModel] = {}
    for name, config in configs.items():
        announce(f"{name}: training {trained_steps} steps of {workload.batch} × {workload.length} tokens")
        trained[name] = TrainedModel(workload, config, announce)
        for _ in range(trained_steps):
            trained[name]()
    announce(f"timing {rounds} steps of each, interleaved")
    rows = []
    for name, ratio in ratios_to(reference, interleave(trained, rounds)).items():
        forward, backward = operations_per_layer(trained[name].model, workload.batch, workload.length)
        operations = {"forward": forward, "backward": backward}
        rows.append({"name": name, "config": configs[name], **ratio.to_dict(), "operations": operations})
    if alone:
        _measure_alone(rows, trained, workload, reference, announce, plugins)
    return rows


def _measure_alone(
    rows: list[dict[str, Any]],
    trained: dict[str, TrainedModel],
    workload: Workload,
    reference: str,
    announce: Callable[[str], None],
    plugins: Sequence[str],
) -> None:
    """Adds to each row what a process of its own tells."""
    with tempfile.TemporaryDirectory(prefix="lrlora-") as folder:
        state = Path(folder) / "trained.pt"
        for row in rows:
            announce(f"{row['name']}: alone in a fresh process")
            trained[row["name"]].save(state)
            order = {"name": row["name"], "workload": workload, "config": row["config"], "state": str(state)}
            row |= run_worker("alone", order, torch.get_num_threads(), plugins)
    its = next(row for row in rows if row["name"] == reference)
    for row in rows:
        row["first_ratio"] = row["first_ms"] / its["first_ms"]
        row["memory_ratio"] = row["peak_mib"] / its["peak_mib"]

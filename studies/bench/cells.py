"""Whole cells of the study ``basis`` at quick budget, each in a fresh process, as a user's first run is."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrlora.studies.bench.compared import REFERENCE, Configs
from lrlora.studies.bench.timing import interleave, ratios_to
from lrlora.studies.bench.worker import read_order, run_worker

if TYPE_CHECKING:
    from lrlora.studies.spec.cells import Cell

STUDY, BUDGET = "basis", "quick"
SEED = 42
PHASES = ("start", "load", "train", "evaluate")
"""Interpreter and imports; weights, examples and adapter; optimizer steps; judging, analysing and saving."""


def measure_cells(
    configs: Configs,
    rounds: int,
    steps: int | None,
    threads: int,
    announce: Callable[[str], None],
    plugins: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Returns a row per method: the ratio of its cell's wall time to LoRA's, and how its time is split.

    Args:
        configs: By name; see :func:`lrlora.studies.bench.compared.compared_methods`.
        rounds: How often each cell is run.
        steps: Optimizer steps of a cell; None for the budget's.
        threads: PyTorch's.
        announce: Told of each run.
        plugins: Files or modules that register what the configurations name.

    Raises:
        StudyError: A cell failed.
    """
    phases: dict[str, list[dict[str, float]]] = {name: [] for name in configs}

    def run_once(name: str) -> None:
        order = {"name": name, "config": configs[name], "steps": steps, "started": time.time()}
        phases[name].append(run_worker("cells", order, threads, plugins))

    times = interleave(
        {name: lambda name=name: run_once(name) for name in configs},  # type: ignore[misc]
        rounds,
        lambda number, name: announce(f"round {number + 1} of {rounds}: {name}"),
    )
    return [
        {"name": name, **ratio.to_dict(), "phases": phases[name]} for name, ratio in ratios_to(REFERENCE, times).items()
    ]


def plan_cell(name: str, config: dict[str, Any], steps: int | None) -> Cell:
    """Returns the cell that the study would run for a configuration; validated once, after its last step."""
    from lrlora.studies.methods import make_method
    from lrlora.studies.spec.cells import Cell, Variant
    from lrlora.studies.spec.study import Study

    chosen = {} if steps is None else {"training.steps": steps, "training.eval_every": steps}
    study = Study.load(STUDY, chosen).resolve(BUDGET)
    resolved = {"method": config["method"], **make_method(config, name).resolved()}
    variant = Variant(name, resolved, study.training)
    return Cell(study.name, variant, SEED, study.tasks[0].model_dump(mode="json"), study.backbones[0])


def main() -> None:
    """Runs one cell and prints the seconds of its phases."""
    order = read_order()
    import transformers.trainer

    from lrlora.studies.execution.quiet import quiet
    from lrlora.studies.training.loop import run_cell

    marks: dict[str, float] = {}

    class Clock(transformers.TrainerCallback):
        """Notes when the first step begins and when the last one has ended."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            marks["load"] = time.time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks["train"] = time.time()

    # The trainer is made within the study's own code. This process makes only one.
    transformers.trainer.DEFAULT_CALLBACKS.append(Clock)
    cell = plan_cell(order["name"], order["config"], order["steps"])
    marks["start"] = time.time()
    with quiet(), tempfile.TemporaryDirectory(prefix="lrlora-") as folder:
        record = run_cell(cell, Path(folder), lambda step, figures: None)
    marks["evaluate"] = time.time()
    if record["status"] == "failed":
        raise SystemExit(record["reason"])
    times = [order["started"], *(marks[phase] for phase in PHASES)]
    print(json.dumps({phase: after - before for phase, before, after in zip(PHASES, times, times[1:], strict=False)}))


if __name__ == "__main__":
    main()

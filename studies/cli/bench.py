"""``lrlora bench``: what LR-LoRA costs beside PEFT's methods."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from lrlora.studies.cli.options import Plugin, load_plugins
from lrlora.studies.errors import StudyError

app = typer.Typer(
    help="Time and memory of LR-LoRA beside PEFT's methods. Methods are interleaved, and each value is the "
    "median of the ratios to LoRA in the same round: single times on a shared machine mean little.",
    no_args_is_help=True,
)

_SEVERAL = "Several between commas, or repeat the option."
_BASES = ["sinc,gaussian,bspline,fourier,polynomial"]
_BESIDE = ["lora,dora,hira,loha,randlora"]
Bases = Annotated[list[str], typer.Option(metavar="NAMES", help=f"Bases of LR-LoRA. {_SEVERAL}")]
Beside = Annotated[list[str], typer.Option(metavar="NAMES", help=f"Other methods; lora is always there. {_SEVERAL}")]
Rank = Annotated[int, typer.Option("--r", metavar="R", min=1, help="Rank of all methods.")]
Engine = Annotated[str | None, typer.Option(metavar="NAME", help="LR-LoRA's engine; by default the one it chooses.")]
Threads = Annotated[int | None, typer.Option(metavar="N", min=1, help="PyTorch's threads; by default its own choice.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Where it runs: cpu or cuda.")]
Load = Annotated[bool, typer.Option("--load", help="Run a second process that keeps all cores busy.")]
File = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write all measurements to a file.")]
Size = Annotated[str | None, typer.Option("--tokens", metavar="BATCHxLENGTH", help="By default 32x32, smollm2 4x128.")]
Model = Annotated[str, typer.Argument(metavar="[MODEL]", help="minilm or smollm2.")]
Steps = Annotated[int, typer.Option(metavar="N", min=1, help="Timed steps of each.")]
Trained = Annotated[int, typer.Option("--trained", metavar="N", min=1, help="Optimizer steps before timing.")]
_TIMES = {"": "name", "time, × LoRA": "ratio"}


@app.command("cell")
def bench_cell(
    bases: Bases = _BASES,
    beside: Beside = _BESIDE,
    rank: Rank = 4,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Runs of each cell.")] = 3,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Optimizer steps; by default 64, those of the budget.")
    ] = None,
    engine: Engine = None,
    threads: Threads = None,
    load: Load = False,
    plugin: Plugin = None,
    file: File = None,
) -> None:
    """Time a whole cell of the study basis at quick budget, cold: a fresh process for each.

    From the start of the process to its end: imports, weights, adapter, training, and evaluation on the test split.
    """
    load_plugins(plugin)
    from lrlora.studies.bench.cells import PHASES, measure_cells
    from lrlora.studies.bench.compared import compared_methods, read_names
    from lrlora.studies.bench.report import announce, check_writable, make_document, show

    check_writable(file)
    configs = compared_methods(read_names(bases), read_names(beside), rank, engine)
    settings = {"r": rank, "rounds": rounds, "steps": steps, "engine": engine, "load": load}
    with _surrounded(threads, load) as used:
        document = make_document("cell", settings, [])
        document["rows"] = measure_cells(configs, rounds, steps, used, announce, plugin or ())
    columns = {**_TIMES, "min – max": "range", "seconds": "seconds", **{f"{phase}, s": phase for phase in PHASES}}
    show(document, columns, file)


@app.command("step")
def bench_step(
    model: Model = "minilm",
    bases: Bases = _BASES,
    beside: Beside = _BESIDE,
    rank: Rank = 4,
    device: Device = "cpu",
    tokens: Size = None,
    steps: Steps = 21,
    trained: Trained = 60,
    engine: Engine = None,
    alone: Annotated[
        bool,
        typer.Option("--alone/--no-alone", help="Each method in a fresh process too: its first step, its peak memory."),
    ] = True,
    threads: Threads = None,
    load: Load = False,
    plugin: Plugin = None,
    file: File = None,
) -> None:
    """Time a training step of a pretrained model on a trained adapter, all methods in one process.

    Every linear layer of the blocks is adapted and trained on real data first: headlines for minilm, text for smollm2.
    Operations are those of PyTorch in an adapted layer, forward and backward, views not counted.
    """
    load_plugins(plugin)
    from lrlora.studies.bench.compared import REFERENCE, compared_methods, read_names
    from lrlora.studies.bench.device import check_device
    from lrlora.studies.bench.report import announce, check_writable, make_document, show

    check_writable(file)
    size = _read_size(tokens)
    configs = compared_methods(read_names(bases), read_names(beside), rank, engine)
    from lrlora.studies.bench.steps import measure_steps
    from lrlora.studies.bench.trained import workload_of

    workload = workload_of(model, size, check_device(device))
    settings = {**workload._asdict(), "r": rank, "steps": steps, "trained": trained, "engine": engine, "load": load}
    with _surrounded(threads, load):
        document = make_document("step", settings, [])
        document["rows"] = measure_steps(
            workload, configs, REFERENCE, steps, announce, trained, alone, plugins=plugin or ()
        )
    columns = {**_TIMES, "quartiles": "quartiles", "ms": "ms", "operations a layer": "operations"}
    if alone:
        columns |= {"first step, × LoRA": "first", "peak memory, × LoRA": "memory"}
    show(document, columns, file)


@app.command("layer")
def bench_layer(
    out: Annotated[int, typer.Argument(metavar="OUT", min=1, help="Output features, as 4096.")],
    inside: Annotated[int, typer.Argument(metavar="IN", min=1, help="Input features, as 14336.")],
    bases: Bases = _BASES,
    beside: Beside = _BESIDE,
    rank: Rank = 8,
    device: Device = "cpu",
    tokens: Annotated[int, typer.Option(metavar="T", min=1, help="In a step; 1 is decoding, unmerged.")] = 512,
    bending: Annotated[
        str, typer.Option(metavar="HOW", help="Nonlinear fraction of the adapter: mild (2 %) or strong (17 %).")
    ] = "mild",
    steps: Steps = 15,
    engine: Engine = None,
    threads: Threads = None,
    load: Load = False,
    plugin: Plugin = None,
    file: File = None,
) -> None:
    """Time a training step of one linear layer of any size, or one token through it.

    The factors are not trained: they are sampled to have the spectrum and the nonlinear fraction of a trained adapter.
    """
    load_plugins(plugin)
    from lrlora.studies.bench.compared import REFERENCE, compared_methods, read_names
    from lrlora.studies.bench.device import check_device, memory_of
    from lrlora.studies.bench.layers import layer_steps
    from lrlora.studies.bench.report import announce, check_writable, make_document, show
    from lrlora.studies.bench.timing import interleave, ratios_to

    check_writable(file)
    configs = compared_methods(read_names(bases), read_names(beside), rank, engine)
    settings = {"out": out, "in": inside, "tokens": tokens, "r": rank, "bending": bending, "steps": steps}
    settings |= {"engine": engine, "load": load, "device": check_device(device)}
    with _surrounded(threads, load):
        document = make_document("layer", settings, [])
        prepared = layer_steps((out, inside), tokens, configs, bending, device)
        announce(f"{out} × {inside}: factors sampled as training leaves them, {bending} bending; timing {steps} steps")
        interleave(prepared, 2)  # to warm up
        found = ratios_to(REFERENCE, interleave(prepared, steps))
        document["rows"] = [{"name": name, "config": configs[name], **found[name].to_dict()} for name in found]
        columns = {**_TIMES, "quartiles": "quartiles", "ms": "ms"}
        if device == "cuda":
            columns |= {"memory of a step, MiB": "step_mib"}
            for row in document["rows"]:
                row["step_mib"] = memory_of(prepared[row["name"]])
    show(document, columns, file)


@app.command("grid-points")
def bench_grid_points(
    model: Model = "minilm",
    few: Annotated[int, typer.Option(metavar="N", min=1, help="Smaller number of grid points.")] = 8,
    many: Annotated[int, typer.Option(metavar="N", min=1, help="Larger number of grid points.")] = 512,
    basis: Annotated[str, typer.Option(metavar="NAME", help="Basis of both.")] = "sinc",
    rank: Rank = 8,
    tokens: Size = None,
    steps: Steps = 41,
    trained: Trained = 60,
    engine: Engine = None,
    threads: Threads = None,
    load: Load = False,
    plugin: Plugin = None,
    file: File = None,
) -> None:
    """Time a training step with many grid points beside one with few; LoRA is not in it."""
    load_plugins(plugin)
    from lrlora.studies.bench.compared import lrlora_config
    from lrlora.studies.bench.report import announce, check_writable, make_document, show
    from lrlora.studies.methods import make_method

    check_writable(file)
    size = _read_size(tokens)
    configs = {f"N = {points}": lrlora_config(basis, rank, engine, points) for points in (few, many)}
    for config in configs.values():
        make_method(config, "bench")
    from lrlora.studies.bench.steps import measure_steps
    from lrlora.studies.bench.trained import workload_of

    workload, reference = workload_of(model, size), f"N = {few}"
    settings = {**workload._asdict(), "r": rank, "steps": steps, "trained": trained, "engine": engine, "load": load}
    with _surrounded(threads, load):
        document = make_document("grid-points", settings, [])
        document["rows"] = measure_steps(workload, configs, reference, steps, announce, trained, alone=False)
    show(document, {"": "name", f"time, × N = {few}": "ratio", "quartiles": "quartiles", "ms": "ms"}, file)


@app.command("calibrate")
def bench_calibrate(
    threads: Threads = None,
    device: Device = "cpu",
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the constants, too.")] = None,
) -> None:
    """Measure the constants by which `auto` chooses how φ is evaluated, and print them as JSON.

    Name the file in LRLORA_COSTS to use them. Without it the constants are fixed, so that a run can be repeated.
    """
    import dataclasses
    import json

    from lrlora.engines.calibration import calibrate
    from lrlora.studies.bench.device import check_device
    from lrlora.studies.bench.report import check_writable

    check_writable(file)
    device = check_device(device)
    with _surrounded(threads, load=False):
        constants = json.dumps({device: dataclasses.asdict(calibrate(device))}, indent=2)
    typer.echo(constants)
    if file is not None:
        file.write_text(constants + "\n", encoding="utf-8")


@contextlib.contextmanager
def _surrounded(threads: int | None, load: bool) -> Iterator[int]:
    """Sets PyTorch's threads and starts the load, for as long as the block lasts; gives the number of threads."""
    import torch

    from lrlora.studies.bench.load import busy

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with busy(load):
            yield threads or before
    finally:
        torch.set_num_threads(before)


def _read_size(text: str | None) -> tuple[int, int] | None:
    """Batch and length.

    Raises:
        StudyError: It is not two whole numbers around an x.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]*)[x×]([1-9][0-9]*)", text.strip())
    if match is None:
        raise StudyError(f"--tokens {text!r}: must be BATCHxLENGTH, such as 4x128")
    return int(match.group(1)), int(match.group(2))

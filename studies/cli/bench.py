"""``lrlora bench``: what a training step costs beside LoRA's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lrlora.studies.cli.benching import announce, chosen_shapes, collect, compare_subjects, say
from lrlora.studies.cli.options import Json, Plugin, load_plugins

app = typer.Typer(
    help="Time and memory of a training step, LR-LoRA beside PEFT's LoRA, on the CPU. "
    "Both are in one process and step in turns, and what is given is the median of the ratios of neighbouring steps: "
    "single times on a shared machine mean little. OMP_NUM_THREADS sets the number of threads.",
    no_args_is_help=True,
)

_SEVERAL = "Several between commas, or repeat the option."
Ranks = Annotated[list[str] | None, typer.Option("--rank", metavar="R", help=f"Rank of both. {_SEVERAL}")]
Bases = Annotated[list[str] | None, typer.Option(metavar="NAME", help=f"Bases, or all. {_SEVERAL}")]
Engines = Annotated[list[str] | None, typer.Option(metavar="NAME", help=f"Engines, or all. {_SEVERAL}")]
GridPoints = Annotated[list[str] | None, typer.Option(metavar="N", help=f"Grid points; by default 50. {_SEVERAL}")]
Tolerance = Annotated[float, typer.Option(help="Relative error that engines may make.")]
Dtype = Annotated[str, typer.Option(help="Of the frozen weights: float32 or bfloat16. Adapters are float32.")]
Steps = Annotated[int, typer.Option(help="Counted pairs of steps, at most.")]
Seconds = Annotated[float, typer.Option(help="Begin no further pair after so long; warming up has as long again.")]
WarmUpSteps = Annotated[
    int | None,
    typer.Option("--warmup", metavar="STEPS", help="Steps before counting; by default until they are steady."),
]
Memory = Annotated[bool, typer.Option("--memory/--no-memory", help="Peak memory too, each method in a fresh process.")]
Compile = Annotated[
    str | None,
    typer.Option(
        "--compile",
        metavar="MODE",
        help="Whether engines compile their kernels: always, never, auto; by default $LRLORA_COMPILE, or always.",
    ),
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown and nothing else.")]


@app.command("layer")
def bench_layer(
    layers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LAYER]...", help="For example qwen2-0.5b/down (the default), or roberta-base/q."),
    ] = None,
    shape: Annotated[
        tuple[int, int] | None, typer.Option(metavar="OUT IN", help="A weight of any shape, in place of LAYER.")
    ] = None,
    rank: Ranks = None,
    bases: Bases = None,
    engines: Engines = None,
    grid_points: GridPoints = None,
    tolerance: Tolerance = 2e-3,
    tokens: Annotated[list[str] | None, typer.Option(metavar="T", help=f"By default 512. {_SEVERAL}")] = None,
    dtype: Dtype = "float32",
    steps: Steps = 15,
    seconds: Seconds = 20.0,
    warmup: WarmUpSteps = None,
    memory: Memory = False,
    compile_: Compile = None,
    plugin: Plugin = None,
    as_json: Json = False,
    markdown: Markdown = False,
) -> None:
    """One linear layer with random weights, in the shape of a real model's.

    By default rank 8, every basis, and every engine but direct, which takes N times the memory of the weight.
    """
    from lrlora.studies.bench.settings import DTYPES, Effort, choice, compile_mode, read_names, read_numbers

    load_plugins(plugin)
    effort = Effort(steps, seconds, warmup, memory)
    chosen = chosen_shapes(layers, shape)
    counts = read_numbers(tokens or ["512"], "--tokens")
    choice("--dtype", dtype, DTYPES)
    with compile_mode(compile_) as compiled:
        from lrlora.engines import ENGINES
        from lrlora.studies.bench.settings import make_variants
        from lrlora.studies.bench.subjects import LayerSubject

        everything = [entry.name for entry in ENGINES if entry.name != "direct"]
        variants = make_variants(
            read_names(bases or ["all"]),
            read_names(engines or everything),
            read_numbers(rank or ["8"], "--rank"),
            read_numbers(grid_points or ["50"], "--grid-points"),
            tolerance,
        )
        settings = {"layers": chosen, "tolerance": tolerance, "dtype": dtype, "compile": compiled}
        subjects = [LayerSubject(name, size, count, dtype) for name, size in chosen.items() for count in counts]
        compare_subjects("layer", subjects, variants, effort, settings, plugin or [], as_json, markdown)


@app.command("step")
def bench_step(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="minilm, smollm2; by default both."),
    ] = None,
    rank: Ranks = None,
    bases: Bases = None,
    engines: Engines = None,
    grid_points: GridPoints = None,
    tolerance: Tolerance = 2e-3,
    tokens: Annotated[
        str | None,
        typer.Option(metavar="BATCHxLENGTH", help="By default 32x32 for minilm and 4x128 for smollm2."),
    ] = None,
    dtype: Dtype = "float32",
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Recompute activations in the backward pass.")
    ] = False,
    steps: Steps = 15,
    seconds: Seconds = 60.0,
    warmup: WarmUpSteps = None,
    memory: Memory = True,
    compile_: Compile = None,
    plugin: Plugin = None,
    as_json: Json = False,
    markdown: Markdown = False,
) -> None:
    """A whole training step of a pretrained model, AdamW included, with every linear layer of its blocks adapted.

    By default ranks 4, 8, 16 and 32, the basis sinc and the engine auto. minilm is an encoder of 23 million parameters
    that classifies, smollm2 a language model of 135 million.
    """
    from lrlora.studies.bench.settings import DTYPES, Effort, choice, compile_mode, read_batch, read_names, read_numbers

    load_plugins(plugin)
    effort = Effort(steps, seconds, warmup, memory)
    batch = None if tokens is None else read_batch(tokens)
    choice("--dtype", dtype, DTYPES)
    with compile_mode(compile_) as compiled:
        from lrlora.studies.bench.settings import make_variants
        from lrlora.studies.bench.subjects import MODELS, ModelSubject

        names = list(dict.fromkeys(models or MODELS))
        subjects = [ModelSubject.named(name, batch, dtype, gradient_checkpointing) for name in names]
        variants = make_variants(
            read_names(bases or ["sinc"]),
            read_names(engines or ["auto"]),
            read_numbers(rank or ["4,8,16,32"], "--rank"),
            read_numbers(grid_points or ["50"], "--grid-points"),
            tolerance,
        )
        settings = {
            "models": names,
            "gradient_checkpointing": gradient_checkpointing,
            "tolerance": tolerance,
            "dtype": dtype,
            "compile": compiled,
        }
        compare_subjects("step", subjects, variants, effort, settings, plugin or [], as_json, markdown)


@app.command("scaling")
def bench_scaling(
    layer: Annotated[str | None, typer.Argument(metavar="[LAYER]", help="By default qwen2-0.5b/down.")] = None,
    shape: Annotated[
        tuple[int, int] | None, typer.Option(metavar="OUT IN", help="A weight of any shape, in place of LAYER.")
    ] = None,
    rank: Ranks = None,
    bases: Bases = None,
    engines: Engines = None,
    grid_points: GridPoints = None,
    tolerance: Tolerance = 2e-3,
    tokens: Annotated[
        list[str] | None, typer.Option(metavar="T", help=f"By default 128, 512 and 2048. {_SEVERAL}")
    ] = None,
    dtype: Dtype = "float32",
    steps: Steps = 15,
    seconds: Seconds = 20.0,
    warmup: WarmUpSteps = None,
    compile_: Compile = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the sweep.")] = None,
    plugin: Plugin = None,
    as_json: Json = False,
    markdown: Markdown = False,
) -> None:
    """One layer over tokens, ranks and grid points, beside a model from first principles.

    The rates in the model (of products, of thin products, of passes over the entries of the weight) are measured here,
    so that it says what to expect on this machine. By default ranks 4 and 16, the basis sinc and the engine auto.
    """
    from lrlora.studies.bench.settings import DTYPES, Effort, choice, compile_mode, read_names, read_numbers

    load_plugins(plugin)
    effort = Effort(steps, seconds, warmup, memory=False)
    ((name, size),) = chosen_shapes(None if layer is None else [layer], shape).items()
    counts = read_numbers(tokens or ["128,512,2048"], "--tokens")
    choice("--dtype", dtype, DTYPES)
    if plot is not None:
        from lrlora.studies.bench.scaling_plot import check_place

        check_place(plot)
    with compile_mode(compile_) as compiled:
        from lrlora.studies.bench.document import as_markdown, heading, make_document, model_lines
        from lrlora.studies.bench.scaling import Scaling
        from lrlora.studies.bench.settings import make_variants

        variants = make_variants(
            read_names(bases or ["sinc"]),
            read_names(engines or ["auto"]),
            read_numbers(rank or ["4,16"], "--rank"),
            read_numbers(grid_points or ["50"], "--grid-points"),
            tolerance,
        )
        settings = {"layers": {name: size}, "tolerance": tolerance, "dtype": dtype, "compile": compiled}
        silent = as_json or markdown
        if not silent:
            say(heading(make_document("scaling", settings, effort, [])))
        scaling = Scaling(name, size, counts, variants, dtype, effort, announce)
        rows = collect(scaling.rows(), silent)
        document = make_document("scaling", settings, effort, rows) | {"model": scaling.summary()}
    if plot is not None:
        from lrlora.studies.bench.scaling_plot import draw_scaling, write_figure

        write_figure(plot, draw_scaling(rows, name))
    if as_json:
        print(json.dumps(document, indent=1))
    elif markdown:
        print(as_markdown(document))
    else:
        for line in model_lines(document):
            say(line)


@app.command("floor")
def bench_floor(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="minilm or smollm2.")] = "minilm",
    rank: Ranks = None,
    tokens: Annotated[str | None, typer.Option(metavar="BATCHxLENGTH", help="As for step.")] = None,
    steps: Steps = 15,
    seconds: Seconds = 30.0,
    warmup: WarmUpSteps = None,
    compile_: Compile = None,
    as_json: Json = False,
) -> None:
    """LR-LoRA's step beside the least it can take: LoRA's with the bare dense products, and with bare passes as well.

    In float32, by default at ranks 4, 8, 16 and 32. What is between the two is overhead; the rest is arithmetic.
    """
    from lrlora.studies.bench.settings import Effort, compile_mode, read_batch, read_numbers

    effort = Effort(steps, seconds, warmup, memory=False)
    ranks = read_numbers(rank or ["4,8,16,32"], "--rank")
    batch = None if tokens is None else read_batch(tokens)
    with compile_mode(compile_) as compiled:
        from lrlora.studies.bench.document import heading, make_document
        from lrlora.studies.bench.floor import as_lines, measure_floor
        from lrlora.studies.bench.subjects import ModelSubject

        subject = ModelSubject.named(model, batch)
        rows = list(measure_floor(subject, ranks, effort, announce))
    settings = {"models": [model], "tolerance": 2e-3, "dtype": "float32", "compile": compiled}
    document = make_document("floor", settings, effort, rows)
    if as_json:
        print(json.dumps(document, indent=1))
        return
    say(heading(document))
    for line in as_lines(rows):
        say(line)


@app.command("grid-points")
def bench_grid_points(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="minilm or smollm2.")] = "minilm",
    few: Annotated[int, typer.Option(help="Grid points of the one.")] = 8,
    many: Annotated[int, typer.Option(help="Grid points of the other.")] = 512,
    rank: Annotated[int, typer.Option(metavar="R", help="Rank of both.")] = 8,
    steps: Steps = 41,
    seconds: Seconds = 60.0,
    compile_: Compile = None,
    as_json: Json = False,
) -> None:
    """A step of LR-LoRA with many grid points beside one with few, in turns; LoRA is not in it."""
    from lrlora.studies.bench.settings import Effort, compile_mode, make_variants

    effort = Effort(steps, seconds, None, memory=False)
    with compile_mode(compile_):
        from lrlora.studies.bench.subjects import ModelSubject
        from lrlora.studies.bench.timing import interleave, summarise, warm_up

        subject = ModelSubject.named(model)
        small, large = (
            subject.step(variant.ours) for variant in make_variants(["sinc"], ["auto"], [rank], [few, many], 2e-3)
        )
        announce(f"{model}: {many} grid points beside {few}, rank {rank}")
        warm_up(large, small, effort.warm_up, effort.seconds)
        found = summarise(interleave(large, small, effort.steps, effort.seconds))
    if as_json:
        print(
            json.dumps({"subject": subject.name, "few": few, "many": many, "rank": rank, **found.to_dict()}, indent=1)
        )
        return
    low, high = found.quartiles
    say(f"{model}, r = {rank}: a step with N = {many} takes {found.ratio:.2f} of one with N = {few}")
    say(f"({low:.2f} to {high:.2f} between the quartiles of {found.pairs} pairs)")


@app.command("costs")
def bench_costs(
    shape: Annotated[tuple[int, int], typer.Option(metavar="OUT IN", help="Of the weight to measure on.")] = (
        1536,
        576,
    ),
    tokens: Annotated[int, typer.Option(help="Of the step.")] = 512,
    repeats: Annotated[int, typer.Option(help="Of each measurement, of which the median counts.")] = 15,
    compile_: Compile = None,
    as_json: Json = False,
) -> None:
    """The constants that the engine auto chooses by, as they are and as this machine has them; nothing is changed."""
    from lrlora.studies.bench.settings import compile_mode
    from lrlora.studies.errors import StudyError

    if min(*shape, tokens, repeats) < 1:
        raise StudyError("--shape, --tokens and --repeats take whole numbers of at least 1")
    with compile_mode(compile_):
        from lrlora.studies.bench.calibration import measure_costs

        constants = []
        for constant in measure_costs(shape, tokens, repeats):
            constants.append(constant)
            if not as_json:
                measured = "not on this processor" if constant.measured is None else f"{constant.measured:.4g}"
                say(f"{constant.name:16} {constant.used:>10.4g} ns   here {measured}")
    if as_json:
        print(
            json.dumps(
                {constant.name: {"used": constant.used, "measured": constant.measured} for constant in constants}
            )
        )

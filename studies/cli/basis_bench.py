"""``lrlora basis bench``: what a basis costs beside sinc and LoRA."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from lrlora.studies.cli.options import Json, Plugin, load_plugins


def bench_bases(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Bases, with options as in bspline:2.")],
    layer: Annotated[str, typer.Option(help="The layer that is trained, by its name in lrlora bench.")] = "minilm/up",
    tokens: Annotated[int, typer.Option(help="In a step.")] = 512,
    rank: Annotated[int, typer.Option(help="Of both adapters.")] = 4,
    grid_points: Annotated[int, typer.Option("--grid-points", metavar="N", help="Functions of sinc.")] = 50,
    steps: Annotated[int, typer.Option(help="Pairs of steps that are counted, at most.")] = 15,
    seconds: Annotated[float, typer.Option(help="After so long no further pair is begun.")] = 10.0,
    warmup: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Before counting; by default until times are steady.")
    ] = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Time bases beside sinc and LoRA, with as many parameters and with as many operations as sinc.

    The same parameters are the same N: a layer has 2 N scalars a and ω. The same operations are the N at which one
    evaluation of all functions takes as many as sinc's, one for each entry that a primitive of PyTorch writes.
    Measured in turns in one process: the median of ratios between neighbours, with their quartiles.
    """
    load_plugins(plugin)
    from lrlora.studies.bench.settings import Effort, make_variants
    from lrlora.studies.bench.shapes import shape_named
    from lrlora.studies.bench.subjects import LayerSubject
    from lrlora.studies.cli.benching import announce, say
    from lrlora.studies.environment import describe_environment
    from lrlora.studies.errors import StudyError, said_in_one_line
    from lrlora.studies.plugins.basis_costs import measure_costs

    if min(tokens, rank, grid_points) < 1:
        raise StudyError("--tokens, --rank and --grid-points take whole numbers of at least 1")
    effort = Effort(steps, seconds, warmup, memory=False)
    subject = LayerSubject(layer, shape_named(layer), tokens)
    with said_in_one_line():
        make_variants(names, ["auto"], [rank], [grid_points], 2e-3)
    rows: list[dict[str, Any]] = []
    if not as_json:
        say(f"{layer}, {tokens} tokens, rank {rank}; ratios of times: median (quartiles)")
    for cost in measure_costs(list(dict.fromkeys(names)), grid_points, subject, rank, effort, announce):
        rows.append(cost.to_dict())
        if not as_json:
            say(_line(rows[-1]))
    if as_json:
        settings = {"layer": layer, "tokens": tokens, "rank": rank, "grid_points": grid_points}
        print(json.dumps({"settings": settings, "environment": describe_environment(), "rows": rows}, indent=1))


def _line(row: dict[str, Any]) -> str:
    head = f"{row['basis']:16} N {row['grid_points']:<4} same {row['matched']:10} {row['operations']:6.0f} operations"
    text = f"{head}  matrix {_ratio(row['matrix'])} × sinc"
    if row["step"] is None:
        return f"{text}; step refused: {row['evaluation']}"
    return f"{text}; step {_ratio(row['step'])} × LoRA, {_ratio(row['step_to_reference'])} × sinc"


def _ratio(comparison: dict[str, Any]) -> str:
    low, high = comparison["quartiles"]
    return f"{comparison['ratio']:.2f} ({low:.2f} to {high:.2f})"

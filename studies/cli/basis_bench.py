"""``lrlora basis bench``: what a basis costs beside sinc and LoRA."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from lrlora.studies.cli.options import Json, Plugin, load_plugins


def bench_bases(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Bases, with their options, for example bspline:2.")
    ],
    shape: Annotated[tuple[int, int], typer.Option(metavar="OUT IN", help="Size of the layer.")] = (
        1536,
        384,
    ),
    tokens: Annotated[int, typer.Option(min=1, help="Tokens per step.")] = 512,
    rank: Annotated[int, typer.Option(min=1, help="Rank of all adapters.")] = 4,
    grid_points: Annotated[
        int, typer.Option("--grid-points", metavar="N", min=1, help="Number of functions of sinc.")
    ] = 50,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps of each.")] = 15,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Time bases beside sinc and LoRA, with as many parameters and with as many operations as sinc.

    The same parameters are the same N: a layer has 2 N scalars a and ω. The same operations are the N at which one
    evaluation of all functions takes as many as sinc's, one for each entry that a primitive of PyTorch writes.
    Measured interleaved in one process: the median of the ratios, with their quartiles.
    """
    load_plugins(plugin)
    from lrlora.studies.authoring.basis_costs import measure_costs
    from lrlora.studies.bench.compared import compared_methods
    from lrlora.studies.bench.report import announce, make_document, say, surroundings
    from lrlora.studies.errors import StudyError

    if min(shape) < 1:
        raise StudyError(f"--shape must be two numbers >= 1, got {shape[0]} {shape[1]}")
    compared_methods(names, [], rank, grid_points=grid_points)
    settings = {"shape": shape, "tokens": tokens, "rank": rank, "grid_points": grid_points, "steps": steps}
    document = make_document("basis", settings, [])
    if not as_json:
        say(surroundings(document["environment"]))
        say(f"{shape[0]} × {shape[1]}, {tokens} tokens, rank {rank}; ratios of times: median (quartiles)")
    for cost in measure_costs(list(dict.fromkeys(names)), grid_points, shape, tokens, rank, steps, announce):
        document["rows"].append(cost.to_dict())
        if not as_json:
            say(_line(document["rows"][-1]))
    if as_json:
        print(json.dumps(document, indent=1))


def _line(row: dict[str, Any]) -> str:
    head = f"{row['basis']:16} N {row['grid_points']:<4} same {row['matched']:10} {row['operations']:6.0f} operations"
    steps = f"step {_ratio(row['step'])} × LoRA, {_ratio(row['step_to_reference'])} × sinc"
    return f"{head}  matrix {_ratio(row['matrix'])} × sinc; {steps}"


def _ratio(ratio: dict[str, Any]) -> str:
    low, high = ratio["quartiles"]
    return f"{ratio['ratio']:.2f} ({low:.2f} to {high:.2f})"

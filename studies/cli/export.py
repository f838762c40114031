"""``lrlora export``: adapters for use without this package, and adapters made from LoRA."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrlora.studies.cli.options import Json, Plugin, Set, load_plugins
from lrlora.studies.cli.output import say

if TYPE_CHECKING:
    from peft import PeftModel

    from lrlora.export import LayerTruncation

app = typer.Typer(
    help="Write an adapter as a merged model or as a LoRA adapter, for use without lrlora; or convert a LoRA adapter.",
    no_args_is_help=True,
)

Adapter = Annotated[Path, typer.Argument(metavar="ADAPTER", help="The folder of a saved LR-LoRA adapter.")]
Lora = Annotated[Path, typer.Argument(metavar="LORA", help="The folder of a saved LoRA adapter.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write, as a whole or not at all.")]
Base = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Base model: a backbone such as minilm, a model's folder, or its name on the hub; "
        "by default what the adapter's configuration names.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a model or an adapter in OUT.")]


@app.command("merged")
def merged(
    adapter: Adapter, out: Out, base: Base = None, force: Force = False, plugin: Plugin = None, as_json: Json = False
) -> None:
    """Merge an adapter into its base model and write a plain checkpoint of transformers, tokenizer files included."""
    load_plugins(plugin)
    with refusing():
        model = _load(adapter, out, base, force)
        from lrlora.export import save_merged
        from lrlora.studies.models.backbones import load_tokenizer

        packed = packed_backbone(base or model.peft_config["default"].base_model_name_or_path)
        tokenizer = load_tokenizer(packed) if packed is not None else None  # others have files, which are copied
        files = save_merged(model, out, force=force, keep_model=False, tokenizer=tokenizer)
    if as_json:
        print(json.dumps({"out": str(out), "tokenizer": files}, indent=1))
        return
    say(f"merged model: {out}")
    say(f"tokenizer files: {', '.join(files) or 'none, the base model has none'}")


@app.command("lora")
def lora(
    adapter: Adapter,
    out: Out,
    rank: Annotated[int | None, typer.Option(metavar="K", help="Rank of every layer.")] = None,
    error: Annotated[
        float | None,
        typer.Option(metavar="E", help="The smallest rank of each layer with a relative error of at most E."),
    ] = None,
    max_rank: Annotated[
        int | None, typer.Option(metavar="K", help="With --error: no layer gets more, and may then miss E.")
    ] = None,
    equal_ranks: Annotated[
        bool, typer.Option("--equal-ranks", help="Pad with zeros to one rank, for servers that take one only.")
    ] = False,
    randomized: Annotated[
        bool,
        typer.Option("--randomized", help="With --rank, for very large weights: use a random subspace."),
    ] = False,
    base: Base = None,
    force: Force = False,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Write an adapter as a LoRA adapter, by truncated singular values of each update, with a table of the losses.

    Without --rank and --error the result must be exact, which it is if φ is linear. The table is in OUT, as
    truncation.md and truncation.json.
    """
    load_plugins(plugin)
    with refusing():
        model = _load(adapter, out, base, force)
        from lrlora.export import save_as_lora

        export = save_as_lora(
            model,
            out,
            force=force,
            rank=rank,
            error=error,
            max_rank=max_rank,
            equal_ranks=equal_ranks,
            randomized=randomized,
            on_layer=None if as_json else _progress,
        )
    from lrlora.export.table import summarize, verdict

    if as_json:
        layers = [asdict(row) for row in export.rows]
        print(json.dumps({"out": str(out), "summary": summarize(export.rows), "layers": layers}, indent=1))
        return
    say(verdict(export.rows))
    say(f"LoRA adapter: {out}")
    say(f"layer by layer: {out / 'truncation.md'}")


@app.command("from-lora")
def from_lora(
    lora: Lora,
    out: Out,
    basis: Annotated[str | None, typer.Option(metavar="NAME", help="The functions ψ; by default sinc.")] = None,
    settings: Set = None,
    force: Force = False,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Write an LR-LoRA adapter that computes what a LoRA adapter computes, to train on from there.

    KEY in --set is a field of LRLoraConfig that LoRA does not decide, for example num_grid_points=20 or sharing=all.
    """
    from lrlora.studies.spec.overrides import parse_overrides

    load_plugins(plugin)
    fields: dict[str, Any] = parse_overrides(settings or ())
    if basis is not None:
        fields["basis"] = basis
    with refusing():
        from lrlora.export import save_from_lora

        config = save_from_lora(lora, out, force=force, **fields)
    if as_json:
        print(json.dumps({"out": str(out), "r": config.r, "basis": config.to_dict()["basis"]}, indent=1))
        return
    say(f"LR-LoRA adapter of rank {config.r}: {out}")


@contextmanager
def refusing() -> Iterator[None]:
    """Turns export errors into the command's own errors."""
    from lrlora.export.errors import ExportError
    from lrlora.studies.errors import StudyError

    try:
        yield
    except ExportError as error:
        raise StudyError(str(error)) from None


def _load(adapter: Path, out: Path, base: str | None, force: bool) -> PeftModel:
    """The adapter on its base model, after a check that the output folder may be written."""
    from lrlora.export.folders import check_free
    from lrlora.export.loading import load_adapted, read_adapter

    config = read_adapter(adapter, "LRLORA")
    named = base if base is not None else config.base_model_name_or_path
    check_free(out, force, (adapter, *([Path(named)] if named and Path(named).is_dir() else [])))
    from lrlora.studies.models.backbones import BACKBONES, locate

    with warnings.catch_warnings(record=True) as heard:
        if packed := packed_backbone(named):
            model = load_adapted(adapter, locate(packed), gguf_file=BACKBONES[packed].gguf)
        else:
            model = load_adapted(adapter, None if base is None else locate(base))
    for warning in heard:
        say(f"note: {warning.message}", stderr=True)
    return model


def packed_backbone(named: str | None) -> str | None:
    """The backbone in a GGUF file that is meant by its name, or by the folder it is in; None for other models."""
    from lrlora.studies.errors import StudyError
    from lrlora.studies.models.backbones import BACKBONES

    for name, known in BACKBONES.items():
        if known.gguf is not None and named:
            with suppress(StudyError):  # it is not installed, so that nothing was trained on it here
                if named == name or Path(named).resolve() == known.directory(name).resolve():
                    return name
    return None


def _progress(row: LayerTruncation, done: int, total: int) -> None:
    """A line per layer, apart from the results."""
    say(f"[{done}/{total}] {row.module}: rank {row.rank}, error {100 * row.error:.3g} %", stderr=True)

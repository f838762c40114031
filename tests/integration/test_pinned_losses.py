"""Ten steps of training give the losses that they gave before, to the last bit.

A change of the last bits is not wrong, but it should be known: resumed runs and published figures hang on them. Where a
change is meant, or on another machine, ``python tests/integration/pinned_run.py`` prints what to write to
``pinned_losses.json`` under the name that ``pinned_run.machine()`` returns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pinned_run
import pytest

PINS: dict[str, dict[str, list[str]]] = json.loads(Path(__file__).with_name("pinned_losses.json").read_text())


@pytest.mark.parametrize("engine", pinned_run.engines())
def test_losses_are_those_that_are_pinned(engine: str) -> None:
    """On a machine without pins two runs in this process are compared with each other."""
    pinned = PINS.get(pinned_run.machine())
    expected = pinned_run.losses(engine) if pinned is None else pinned[engine]
    assert pinned_run.losses(engine) == expected


def test_engines_compute_one_function() -> None:
    """The pins of all engines agree to the tolerance, so none of them pins an error."""
    for pinned in PINS.values():
        exact = [float.fromhex(loss) for loss in pinned["direct"]]
        for engine, found in pinned.items():
            assert [float.fromhex(loss) for loss in found] == pytest.approx(exact, rel=5e-3), engine


def test_fresh_processes_give_the_same_bits() -> None:
    """Nothing depends on what a process did before, on the order of sets, or on addresses."""
    command = [sys.executable, "-W", "ignore", str(Path(pinned_run.__file__))]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONHASHSEED": seed})
        for seed in ("0", "1")
    ]
    said = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert said[0] == said[1]
    assert json.loads(said[0]).keys() == set(pinned_run.engines())

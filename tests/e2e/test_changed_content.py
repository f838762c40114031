"""What a user changes between two commands: the formula of a plugin, and the data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import command
import pytest

pytestmark = pytest.mark.e2e

PLUGIN = """
import torch
from lrlora.bases import ShiftedBasis, register

@register("my_bump")
class Bump(ShiftedBasis):
    def kernel(self, u):
        return torch.sigmoid(u) * torch.sigmoid(-u)
"""
STUDY = """
name: tiny
task: {name: files, train: rows.csv}
base: {method: lrlora, r: 1}
axes: {basis: [my_bump]}
baselines: {lora: {method: lora, r: 1}}
seeds: [1]
training: {steps: 2, batch_size: 4, max_length: 16}
budgets: {smoke: {}}
"""


def write_rows(path: Path, first: int) -> None:
    path.write_text("text,label\n" + "".join(f"number {i},{'ab'[i % 2]}\n" for i in [first, *range(100, 160)]))


def test_changed_code_and_data_run_again_and_never_mix(tmp_path: Path) -> None:
    (tmp_path / "my_basis.py").write_text(PLUGIN)
    (tmp_path / "tiny.yaml").write_text(STUDY)
    rows = tmp_path / "rows.csv"
    write_rows(rows, 1)
    plugin = ("--plugin", "my_basis.py")
    arguments = ("study", "run", "tiny.yaml", "--budget", "smoke", "--out", "o?t 50%25", *plugin)
    began = command.run(*arguments, cwd=tmp_path)
    assert began.status == 0, began.output
    assert "changed" not in began.output

    (tmp_path / "my_basis.py").write_text(PLUGIN.replace("return torch", "return 2 * torch"))
    went_on = command.run(*arguments, "--set", "seeds=[1, 2]", cwd=tmp_path)
    assert went_on.status == 0, went_on.output
    says = "kernel of my_bump (my_basis.py) changed since 1 cell ran"
    assert f"{says}: it will run again (--keep-old shows it)" in went_on.output
    assert "[4/4]" in went_on.output

    times = rows.stat()
    write_rows(rows, 3)
    os.utime(rows, ns=(times.st_atime_ns, times.st_mtime_ns))
    planned = command.run("study", "plan", *arguments[2:], "--set", "seeds=[1, 2]", cwd=tmp_path)
    assert planned.status == 0, planned.output
    assert "of the data changed since 4 cells ran: they will run again" in planned.output
    assert "to run: 4 of 4 cells" in planned.output

    status = command.run("study", "status", "o?t 50%25", *plugin, cwd=tmp_path)
    assert f"{says}: it was left out" in status.output
    assert "4 of 4 cells" in status.output
    report = json.loads((tmp_path / "o?t 50%25" / "report" / "results.json").read_text())
    assert report["recorded"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_basis.py", "o?t 50%25", "rows.csv", "tiny.yaml"]

"""A distribution of a third party, built and installed by pip: what its entry points are worth in other processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

SOURCE = Path(__file__).parents[1] / "plugin_package"
COMMANDS = """
import contextlib, io, json
from lrlora.studies.cli.main import run
found = []
for command in (
    ["basis", "list"],
    ["policy", "list", "grid"],
    ["basis", "check", "raised_cosine", "--laws", "--json"],
    ["policy", "check", "grid", "dense_at_zero", "--json"],
):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = run(command)
    found.append([status, printed.getvalue()])
print(json.dumps(found))
"""

BASE = """
import sys, torch
from torch import nn
import lrlora
torch.manual_seed(0)
base = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))
x = torch.randn(5, 6)
"""
TRAIN = (
    BASE
    + """
from peft import get_peft_model
config = lrlora.LRLoraConfig(
    r=2,
    basis="raised_cosine",
    grid="dense_at_zero",
    amplitude_init="small",
    num_grid_points=8,
    target_modules=["0", "1"],
)
model = get_peft_model(base, config)
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
losses = []
for _ in range(20):
    optimizer.zero_grad()
    loss = (model(x) - 1).square().mean()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[-1] < losses[0] / 2, losses
model.eval().save_pretrained("adapter")
print(model(x).flatten().tolist())
"""
)
LOAD = (
    BASE
    + """
from peft import PeftModel
model = PeftModel.from_pretrained(base, "adapter").eval()
print(model(x).flatten().tolist())
"""
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the distribution's wheel into. Nothing is downloaded."""
    scratch = tmp_path_factory.mktemp("plugin")
    shutil.copytree(SOURCE, scratch / "source")  # a build leaves folders beside the sources
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-index", "--no-deps"]
    build = ["wheel", *offline, "--no-build-isolation", "--wheel-dir", str(scratch), str(scratch / "source")]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = scratch.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", str(scratch / "site"), str(wheel)], check=True)
    return scratch / "site"


def python(code: str, *arguments: str, cwd: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    env.pop("PYTHONPATH", None)
    if site is not None:
        env["PYTHONPATH"] = str(site)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def test_a_basis_and_a_grid_are_found_by_their_entry_points_listed_with_their_origin_and_checked(
    installed: Path, tmp_path: Path
) -> None:
    done = python(COMMANDS, cwd=tmp_path, site=installed)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [status for status, _ in found] == [0, 0, 0, 0], found
    (basis,) = (line for line in found[0][1].splitlines() if line.startswith("raised_cosine"))
    assert "Hann window" in basis
    assert "lrlora-example-plugin 1.2.3" in basis
    (grid,) = (line for line in found[1][1].splitlines() if "dense_at_zero" in line)
    assert "lrlora-example-plugin 1.2.3" in grid
    for _, printed in found[2:]:
        checked = json.loads(printed)
        assert checked["ok"]
        assert {"check_config_round_trip", "check_survives_saving"} & {one["check"] for one in checked["checks"]}


def test_an_adapter_with_it_is_trained_saved_and_loaded_where_the_package_is(installed: Path, tmp_path: Path) -> None:
    trained = python(TRAIN, cwd=tmp_path, site=installed)
    assert trained.returncode == 0, trained.stderr
    loaded = python(LOAD, cwd=tmp_path, site=installed)
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout) == pytest.approx(json.loads(trained.stdout), abs=1e-5)

    refused = python(LOAD, cwd=tmp_path)
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert "'dense_at_zero'" in last or "'raised_cosine'" in last
    assert "install or import the plugin that has it" in last

"""A disk that is really full: a small file system in memory. Who may not mount one has the injected errors instead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import fakes
import pytest
import torch

from lrlora.studies.cli.surroundings import explain_surroundings
from lrlora.studies.errors import StudyError
from lrlora.studies.training.checkpoint import Checkpoints

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="mounts a file system, which root may; see test_faults.py"
    ),
]
CELLS, SEEDS = 3, (1, 2, 3)
MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def fill(disk: Path, room: int) -> Path:
    """Leave so many bytes free; returns the file that takes the others."""
    found = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(found.f_bavail * found.f_frsize - room))
    return ballast


def error_of(run: Callable[[], object]) -> Exception | None:
    try:
        run()
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("room", [0, 16, 64, 256])
def test_a_study_on_a_full_disk_ends_in_one_line_and_goes_on_when_there_is_room(
    tmp_path: Path, disk: Path, store: Path, room: int
) -> None:
    out, notes = disk / "out", tmp_path / "notes"
    fakes.drive(fakes.study(1), out, store, fakes.training(notes))
    ballast = fill(disk, room << 10)
    error = error_of(partial(fakes.drive, fakes.study(1, SEEDS), out, store, fakes.training(notes), workers=1))
    said = str(error) if isinstance(error, StudyError) else explain_surroundings(error) if error else None
    assert (error is None) == (said is None), repr(error)
    assert "\n" not in (said or "")
    assert said or room, "a study cannot go on without a byte"
    ballast.unlink()
    assert fakes.drive(fakes.study(1, SEEDS), out, store, fakes.training(notes)).complete
    runs = fakes.runs(out)
    assert Counter(status for _, status, _ in runs) == {"FINISHED": CELLS}
    assert len({cell for cell, _, _ in runs}) == CELLS
    assert all(steps == [1, 2, 3] for _, _, steps in runs)
    assert fakes.trials(out)["COMPLETE"] == CELLS
    assert fakes.trials(out)["RUNNING"] == 0


def test_a_checkpoint_without_room_is_left_out_and_the_one_before_stays(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(disk)
    checkpoints.save("run", 1, {"step": 1, "weights": torch.ones(MIB)})
    fill(disk, MIB)
    checkpoints.save("run", 2, {"step": 2, "weights": torch.ones(MIB)})
    assert "no checkpoint at step 2" in caplog.text
    assert checkpoints.load("run")["step"] == 1
    assert not list(disk.glob("*.tmp"))

"""Checkpoints are read back as written; damaged ones are noticed; the settings of training have stable identities."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrlora.studies.spec.study import Training
from lrlora.studies.training.checkpoint import Checkpoints

TENSORS = st.lists(st.floats(width=32), max_size=5).map(torch.tensor)
STATES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | TENSORS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(STATES)
def test_what_is_written_is_read(state: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder, "new"))
        assert checkpoints.load("run") is None
        checkpoints.save("run", 1, {"state": state})
        assert same(checkpoints.load("run"), {"state": state})


def test_the_last_two_are_kept_and_those_of_other_runs(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("other", 99, "theirs")
    for step in (9, 10, 11, 100):
        checkpoints.save("run", step, step)
    assert sorted(file.name.rpartition("-")[0] for file in tmp_path.iterdir()) == [
        "other-000000099",
        "run-000000011",
        "run-000000100",
    ]
    checkpoints.clear("run")
    assert (checkpoints.load("run"), checkpoints.load("other")) == (None, "theirs")


@pytest.mark.parametrize("damage", ["bit", "cut", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save("run", step, {"step": step, "weights": torch.full((8,), float(step))})
    newest = max(tmp_path.iterdir())
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes({"bit": bytes(content), "cut": bytes(content[:-9]), "empty": b""}[damage])
    assert checkpoints.load("run")["step"] == 1


def test_a_full_disk_stops_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    Checkpoints(tmp_path / "file").save("run", 5, {})
    assert "no checkpoint at step 5" in caplog.text


def test_settings_at_their_defaults_change_no_identity() -> None:
    added = {"dtype", "precision", "gradient_accumulation", "gradient_checkpointing", "quantization"}
    assert not added & Training().resolved().keys()
    assert added <= Training().used().keys()
    assert Training(dtype="bfloat16").resolved() == Training().resolved() | {"dtype": "bfloat16"}

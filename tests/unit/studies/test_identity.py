"""A cell is known by its content: what its numbers depend on, and nothing else."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from lrlora.registry import load_plugin
from lrlora.studies.spec.cells import Cell, expand_cells
from lrlora.studies.spec.fingerprints import MISSING, hash_values
from lrlora.studies.spec.identity import changes
from lrlora.studies.spec.plugin_sources import file_members
from lrlora.studies.spec.study import Study

PLUGIN = '''
import torch
from lrlora.bases import ShiftedBasis, register

def gate(u):
    return torch.sigmoid(-u)

@register("my_bump")
class Bump(ShiftedBasis):
    """A bump."""

    def kernel(self, u):
        from my_kernels import rise
        return rise(u) * gate(u)
'''
KERNELS = "import torch\n\ndef rise(u):\n    return torch.sigmoid(u)\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRLORA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with data and a backbone."""
    write_rows(tmp_path / "train.csv", range(60))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "bert"}')
    save_file({"weight": np.zeros(4)}, tmp_path / "model" / "model.safetensors")
    return tmp_path


@pytest.fixture
def plugin(place: Path, monkeypatch: pytest.MonkeyPatch, forgetting: None) -> Iterator[Path]:
    """A folder for plugin files that import one another."""
    monkeypatch.syspath_prepend(place)
    before = set(sys.modules)
    yield place
    for name in set(sys.modules) - before:
        if "my_basis" in name or name == "my_kernels":
            del sys.modules[name]


def write_rows(path: Path, numbers: Any) -> None:
    path.write_text("text,label\n" + "".join(f"number {i},{'ab'[i % 2]}\n" for i in numbers))


def cell(place: Path, **changes: Any) -> Cell:
    training = changes.pop("training", {})
    study = Study.from_dict(
        {
            "name": "tiny",
            "task": {"name": "files", "train": str(place / "train.csv")},
            "backbone": str(place / "model"),
            "base": {"method": "lrlora"} | changes,
            "training": training,
            "seeds": [1],
        }
    )
    found = expand_cells(study)[0]
    assert found.parts, "found when they are first asked for, which is now"
    return found


def with_plugin(place: Path, source: str = PLUGIN, kernels: str = KERNELS) -> Cell:
    """A cell of the basis in a plugin file, as a new process sees it."""
    from lrlora.bases import BASES

    BASES._entries.pop("my_bump", None)
    for name in [name for name in sys.modules if "my_basis" in name or name == "my_kernels"]:
        del sys.modules[name]
    (place / "my_kernels.py").write_text(kernels)
    (place / "my_basis.py").write_text(source)
    load_plugin(place / "my_basis.py")
    return cell(place, basis="my_bump")


@pytest.mark.parametrize(
    ("source", "kernels", "says"),
    [
        (PLUGIN.replace("rise(u) *", "2 * rise(u) *"), KERNELS, ["kernel of my_bump (my_basis.py)"]),
        (PLUGIN.replace("sigmoid(-u)", "tanh(u)"), KERNELS, ["gate (my_basis.py)"]),
        (PLUGIN, KERNELS.replace("sigmoid", "tanh"), ["rise (my_kernels.py)"]),
        (PLUGIN.replace('"""A bump."""', "# a comment\n    reach = 3"), KERNELS, ["my_bump (my_basis.py)"]),
        (PLUGIN.replace("A bump.", "The bump.") + "# the end\n", "# first\n" + KERNELS, []),
    ],
)
def test_an_edited_plugin_makes_other_cells_and_says_what_was_edited(
    plugin: Path, source: str, kernels: str, says: list[str]
) -> None:
    before, after = with_plugin(plugin), with_plugin(plugin, source, kernels)
    assert before.key == after.key
    assert changes(before.parts, after.parts) == says
    assert (before.id == after.id) == (not says)


def test_a_plugin_that_a_cell_does_not_use_is_no_part_of_it(plugin: Path) -> None:
    alone = cell(plugin)
    with_plugin(plugin)
    assert cell(plugin).parts == alone.parts


def test_replaced_data_make_other_cells_whatever_their_times_say(place: Path) -> None:
    before, path = cell(place), place / "train.csv"
    before_id, times = before.id, path.stat()
    write_rows(path, [7, *range(1, 60)])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = cell(place)
    assert after.id != before_id
    assert all("split of the data" in said for said in changes(before.parts, after.parts))
    write_rows(path, range(60))
    os.utime(path, (1, 1))
    assert cell(place).id == before_id, "the same content is the same data"


def test_replaced_weights_make_other_cells_whatever_their_times_say(place: Path) -> None:
    before, path = cell(place), place / "model" / "model.safetensors"
    times = path.stat()
    save_file({"weight": np.ones(4)}, path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert changes(before.parts, cell(place).parts) == ["the weights of the backbone"]


def test_the_training_code_is_a_part_and_the_shell_is_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cell(place)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert cell(place).id == before.id  # no run reads it
    monkeypatch.setattr("lrlora.studies.spec.identity.TRAINING_VERSION", 999)
    assert "the version of the training code" in " ".join(changes(before.parts, cell(place).parts))


def test_the_test_split_is_no_part_of_a_cell_that_leaves_it_alone(place: Path) -> None:
    assert "data test" in cell(place).parts
    assert "data test" not in cell(place, training={"test_examples": 0}).parts


def test_a_tuning_stage_needs_no_test_split(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lrlora.studies.tasks

    class OfTraining:
        labels = ("a", "b")

        def split(self, name: str) -> list[str]:
            if name == "test":
                raise AssertionError("the test split was read")
            return [name]

    monkeypatch.setattr(lrlora.studies.tasks, "make_task", lambda *_: OfTraining())
    parts = cell(place, training={"test_examples": 0}).parts
    assert MISSING not in (parts["data train"], parts["data validation"])
    assert cell(place).parts["data test"] == MISSING


def test_data_that_are_not_there_are_said_to_be_missing(place: Path) -> None:
    here = cell(place)
    (place / "model" / "config.json").unlink()
    lost = cell(place)
    assert lost.parts["backbone"] == MISSING
    assert here.id != lost.id


def test_a_cell_keeps_its_parts_in_another_process(place: Path) -> None:
    sent = cell(place)
    known = sent.id
    travelling = pickle.dumps(sent)
    (place / "train.csv").unlink()
    assert pickle.loads(travelling).id == known


def test_fingerprints_are_read_from_the_cache_the_second_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = cell(place).id
    monkeypatch.setattr("lrlora.studies.tasks.make_task", lambda *_: pytest.fail("read again"))
    assert cell(place).id == known


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
)


@given(PLAIN, PLAIN)
def test_values_have_one_hash_exactly_if_they_are_the_same(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (hash_values(one) == hash_values(other)) == same
    arrays = [one, np.zeros(2)], [other, np.zeros(2)]
    assert (hash_values(arrays[0]) == hash_values(arrays[1])) == same


@given(st.lists(st.sampled_from(["# a comment", "", "    # another"]), min_size=1, max_size=4))
def test_comments_and_blank_lines_are_no_part_of_a_source(lines: list[str]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        plain, spaced = Path(folder, "a.py"), Path(folder, "b.py")
        plain.write_text(PLUGIN)
        spaced.write_text(PLUGIN.replace("\n\n", "\n" + "\n".join(lines) + "\n"))
        assert file_members(plain) == file_members(spaced)

"""Files of records: they come back as they were, and whatever else a file holds is said in one line."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lrlora.studies.errors import StudyError
from lrlora.studies.record import archive as archive_module
from lrlora.studies.record.archive import Archive
from lrlora.studies.record.run_record import Provenance, RunRecord
from lrlora.studies.record.taken import match
from lrlora.studies.spec.cells import Cell, expand_cells
from lrlora.studies.spec.fingerprints import Fingerprints
from lrlora.studies.spec.study import Study

FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
STUDY = {"study": {"name": "tiny"}, "budget": "smoke", "environment": {"python": "3"}}

IDS = st.text("0123456789abcdef", min_size=12, max_size=12)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
COLUMNS = st.sampled_from([np.int32, np.float32, np.bool_, np.float64]).flatmap(
    lambda dtype: arrays(dtype, st.integers(0, 9).map(lambda count: (count,)))
)


@st.composite
def record(draw: st.DrawFn, cell: str) -> RunRecord:
    known: dict[str, Any] = {"cell": cell, "study": "tiny", "variant": draw(st.text()), "method": "lora", "seed": 1}
    known |= {"task": {"name": "files", "options": draw(st.dictionaries(st.text(), VALUES, max_size=2))}}
    known |= {"backbone": "minilm", "config": {}, "training": {}, "mlflow_run_id": draw(NAMES)}
    parts = draw(st.none() | st.dictionaries(st.text(), st.text(), max_size=2))
    known |= {"provenance": None if parts is None else {"parts": parts}, "layers": [{"module": "a", "x": draw(VALUES)}]}
    known |= {"config": draw(st.dictionaries(NAMES, VALUES, max_size=2))}
    return RunRecord.model_validate(known)


@st.composite
def archives(draw: st.DrawFn) -> Archive:
    cells = draw(st.lists(IDS, max_size=4, unique=True))
    columns = st.dictionaries(NAMES, COLUMNS, min_size=1, max_size=3)
    return Archive(
        draw(st.dictionaries(NAMES, VALUES, max_size=2)) | STUDY,
        {cell: draw(record(cell)) for cell in cells},
        {cell: draw(columns) for cell in cells if draw(st.booleans())},
    )


def plain(found: Archive) -> Any:
    """The content of an archive, as what can be compared."""
    examples = {
        cell: {name: (str(array.dtype), array.tobytes()) for name, array in columns.items()}
        for cell, columns in found.examples.items()
    }
    return found.study, found.read_results(), examples


@FILES
@given(archives(), st.randoms(use_true_random=False))
def test_any_records_come_back_as_they_were_and_give_the_same_bytes(
    tmp_path: Path, written: Archive, chance: random.Random
) -> None:
    one, two = tmp_path / "one.records", tmp_path / "two.records"
    written.write(one)
    found = Archive.read(one)
    assert plain(found) == plain(written)
    shuffled = chance.sample(list(found.records.items()), len(found.records))
    Archive(found.study, dict(shuffled), dict(reversed(found.examples.items()))).write(two)
    assert two.read_bytes() == one.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.records", "two.records"]


def small() -> Archive:
    fields = {"study": "tiny", "variant": "a", "method": "lora", "seed": 1, "task": "digits", "backbone": "b"}
    records = {
        cell: RunRecord.model_validate(fields | {"cell": cell, "config": {}, "training": {}, "mlflow_run_id": cell})
        for cell in ("0" * 12, "1" * 12)
    }
    loss = np.linspace(0, 1, 40, dtype=np.float32)
    return Archive(dict(STUDY), records, {"0" * 12: {"loss": loss, "correct": loss > 0.5}})


def read_or_line(file: Path) -> Archive | None:
    """What a file holds, or None where it is refused in one line that names it."""
    try:
        return Archive.read(file)
    except StudyError as error:
        said = str(error)
    assert said.startswith(f"{file}: ")
    assert "\n" not in said
    assert len(said) < 1000
    return None


CHANGES = st.sampled_from(["flip", "cut", "insert", "repeat"])


@FILES
@given(st.lists(st.tuples(CHANGES, st.integers(0, 10**6), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3))
def test_a_file_with_any_bytes_changed_is_the_same_or_refused(
    tmp_path: Path, changes: list[tuple[str, int, bytes]]
) -> None:
    file = tmp_path / "a.records"
    small().write(file)
    content = bytearray(file.read_bytes())
    for how, where, new in changes:
        at = where % (len(content) + 1)
        if how == "flip":
            content[at : at + len(new)] = new
        elif how == "cut":
            del content[at:]
        elif how == "insert":
            content[at:at] = new
        else:
            content += content[at:]
    file.write_bytes(content)
    found = read_or_line(file)
    assert found is None or plain(found) == plain(small())


def members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def repacked(file: Path, content: dict[str, bytes], signed: bool = False) -> None:
    """Write an archive with these members, with their own digest if it is to be believed."""
    if signed:
        head = json.loads(content["format.json"])
        rest = {name: text for name, text in content.items() if name != "format.json"}
        content = content | {"format.json": json.dumps(head | {"sha256": archive_module._digest(rest)}).encode()}
    with zipfile.ZipFile(file, "w") as opened:
        for name, text in content.items():
            opened.writestr(name, text)


@FILES
@given(st.data())
def test_a_member_with_other_content_is_refused_even_with_its_own_digest(tmp_path: Path, data: st.DataObject) -> None:
    """A digest shows damage and edits. It is no signature, so that what is signed has to be read with care as well."""
    file = tmp_path / "a.records"
    small().write(file)
    content = members(file)
    name = data.draw(st.sampled_from(sorted(content)))
    other = data.draw(
        st.binary(max_size=200)
        | st.just(b"[" * 100_000)
        | VALUES.map(lambda value: json.dumps(value).encode() + b"\n")
        | st.sampled_from([content[name] * 2, content[name][:-3], *content.values()]),
    )
    signed = name != "format.json" and data.draw(st.booleans())
    repacked(file, content | {name: other}, signed)
    found = read_or_line(file)
    assert found is None or signed or other == content[name]


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


def huge() -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (2**50,)})
    return stream.getvalue()


@pytest.mark.parametrize("array", [pickled(), huge(), b"", b"\x93NUMPY\x01\x00\xff\xff"])
def test_arrays_of_a_file_are_columns_of_numbers(tmp_path: Path, array: bytes) -> None:
    file = tmp_path / "a.records"
    small().write(file)
    repacked(file, members(file) | {"../../x/loss.npy": array}, signed=True)
    with pytest.raises(StudyError, match="is damaged or cut short"):
        Archive.read(file)
    assert [path.name for path in tmp_path.iterdir()] == ["a.records"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot be read: no such file"),
        (b"", "is neither the folder of a study nor a file of its records (lrlora study export DIR"),
        (b"text,label\n", "is neither the folder of a study nor a file of its records"),
        ({"other.txt": b"x"}, "is neither the folder of a study nor a file of its records"),
        (
            {"format.json": b'{"format": "lrlora records", "version": 2}'},
            "is of version 2 of the format, and this lrlora",
        ),
        ({"format.json": b'{"format": "lrlora records", "version": 1}'}, "is damaged or cut short (its content is not"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, content: bytes | dict[str, bytes] | None, line: str) -> None:
    file = tmp_path / "a.records"
    if isinstance(content, dict):
        repacked(file, content)
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(StudyError) as error:
        Archive.read(file)
    assert str(error.value).startswith(f"{file}: {line}")


def test_a_file_that_would_take_too_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.records"
    small().write(file)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("big.npy", bytes(2**23))
    # The directory says 10 bytes of what is a thousand times the size of the file.
    content = file.read_bytes().replace((2**23).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    file.write_bytes(content)
    assert read_or_line(file) is None
    monkeypatch.setattr(archive_module, "MOST_BYTES", 1000)
    with pytest.raises(StudyError, match="cannot be read: it has more than 0 MiB"):
        Archive.read(file)
    with pytest.raises(StudyError, match="cannot be written: the records have more than 0 MiB"):
        small().write(tmp_path / "b.records")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.records"
    small().write(file)
    before = file.read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StudyError, match=r"a\.records: cannot be written: No space left on device"):
        Archive(dict(STUDY), {}).write(file)
    assert [path.name for path in tmp_path.iterdir()] == ["a.records"]
    assert file.read_bytes() == before
    for place in (tmp_path, Path(), tmp_path / "no" / "a.records"):
        with pytest.raises(StudyError, match="cannot be written"):
            small().write(place)


def finished(of: Cell, parts: dict[str, str] | None = None, **changes: Any) -> RunRecord:
    provenance = Provenance(parts=of.parts | (parts or {}))
    plain = RunRecord.of(of).plain() | {"status": "finished", "provenance": provenance} | changes
    return RunRecord.model_validate(plain)


def test_what_is_taken_and_why_the_rest_is_not_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fingerprints, "data", lambda self, task, split: split)
    monkeypatch.setattr(Fingerprints, "weights", lambda self, backbone: "3")
    plain_study: dict[str, Any] = {"name": "tiny", "base": {"method": "lora"}, "axes": {"r": [1, 2, 3, 4, 5, 6]}}
    cells = expand_cells(Study.from_dict(plain_study | {"seeds": [1]}))
    other = expand_cells(Study.from_dict(plain_study | {"seeds": [1], "training": {"steps": 7}}))[4]
    records = {
        cells[0].id: finished(cells[0]),
        cells[1].id: finished(cells[1], status="failed", reason="out of memory: 3 GiB"),
        "a" * 12: finished(cells[2], cell="a" * 12, parts={"torch": "2.0", "data train": "0"}),
        cells[3].id: finished(cells[3], parts={"backbone": "of another file"}),
        "b" * 12: finished(other, cell="b" * 12),
    }
    found, said = match(cells, Archive({}, records))
    assert found == [cells[0]]
    torch = cells[0].parts["torch"]
    assert said == (
        "1 of 6 cells are taken from it; 1 is not: out-of-memory there; "
        f"1 is not: the train split of the data, torch (2.0, now {torch}) changed; "
        "1 is not: the weights of the backbone changed; 1 is not: the settings changed; 1 is not: not in it"
    )

"""The records of a study as one file, which another machine reads without trusting it.

The file is a zip archive, which ``numpy.load`` opens as well, with these members:

- ``format.json``: the format's name and version, and a SHA-256 of the other members;
- ``study.json``: as in the folder of the study;
- ``records.jsonl``: a :class:`~lrlora.studies.record.run_record.RunRecord` per line, in the order of the cells' ids;
- ``CELL/NAME.npy``: the results of every test example, see :mod:`lrlora.studies.record.predictions`.

Nothing is pickled, and nothing is unpacked to paths that the file names.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lrlora.studies.errors import StudyError
from lrlora.studies.record.run_record import RunRecord

if TYPE_CHECKING:
    import numpy as np

FORMAT, VERSION = "lrlora records", 1
MOST_BYTES = 2**29
"""Of all members together, uncompressed; a larger file is neither written nor read."""

_FORMAT_FILE, _STUDY_FILE, _RECORDS_FILE = "format.json", "study.json", "records.jsonl"
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted member, or JSON that is nested too deep
)
"""What zipfile, json and NumPy raise if a file is not what it seems."""


@dataclass(frozen=True)
class Archive:
    """The records of a study.

    Attributes:
        study: What ``study.json`` holds.
        records: By the cell's id.
        examples: By the cell's id, the results of every test example, arrays of shape ``(examples,)`` by name.
    """

    study: dict[str, Any]
    records: Mapping[str, RunRecord]
    examples: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        study: dict[str, Any],
        records: Iterable[Mapping[str, Any]],
        examples: Mapping[str, Mapping[str, np.ndarray]],
    ) -> Self:
        """Collect the records of a study as reports have them.

        Args:
            study: What ``study.json`` holds.
            records: Plain data.
            examples: By ``mlflow_run_id``.
        """
        found = {str(record["cell"]): RunRecord.model_validate(record) for record in records}
        kept = {cell: examples[one.mlflow_run_id] for cell, one in found.items() if one.mlflow_run_id in examples}
        return cls(study, found, kept)

    def write(self, file: Path) -> None:
        """Write the file, whole or not at all. The same records give the same bytes, with the same version of zlib.

        Raises:
            StudyError: If it cannot be written, or would be larger than :data:`MOST_BYTES`.
        """
        members = self._members()
        if sum(map(len, members.values())) > MOST_BYTES:
            raise StudyError(f"{file}: cannot be written: the records have more than {MOST_BYTES >> 20} MiB")
        if file.is_dir():
            raise StudyError(f"{file}: cannot be written: is a folder")
        head = json.dumps({"format": FORMAT, "version": VERSION, "sha256": _digest(members)}).encode()
        partial = file.with_name(f".{file.name}.partial")
        try:
            with partial.open("wb") as raw:
                with zipfile.ZipFile(raw, "w") as opened:
                    for name, content in {_FORMAT_FILE: head, **members}.items():
                        opened.writestr(_entry(name), content, zipfile.ZIP_DEFLATED, 9)
                raw.flush()
                os.fsync(raw.fileno())
            partial.replace(file)
        except OSError as error:
            raise StudyError(f"{file}: cannot be written: {error.strerror or error}") from None
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file that :meth:`write` wrote.

        Raises:
            StudyError: If it is missing, no such file, of a newer version, damaged or too large; one line.
        """
        try:
            with file.open("rb") as opened:
                if opened.read(4) != b"PK\x03\x04":
                    raise _no_records(file)
            members = _read_members(file)
            study = json.loads(members.pop(_STUDY_FILE))
            if not isinstance(study, dict) or not {"study", "budget"} <= study.keys():
                raise ValueError(f"{_STUDY_FILE} is of no study")
            lines = members.pop(_RECORDS_FILE).decode().split("\n")[:-1]
            read = [RunRecord.read(line, f"{file}: line {number} of records") for number, line in enumerate(lines, 1)]
            examples: dict[str, dict[str, np.ndarray]] = {}
            for name, content in members.items():
                cell, _, column = name.removesuffix(".npy").partition("/")
                examples.setdefault(cell, {})[column] = _array(content)
        except StudyError:
            raise
        except OSError as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
            raise StudyError(f"{file}: cannot be read: {reason}") from None
        except _DAMAGED as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise StudyError(f"{file}: is damaged or cut short ({said}): export it again") from None
        return cls(study, {one.cell: one for one in read}, examples)

    def read_results(self) -> dict[str, dict[str, Any]]:
        """Returns the records as plain data, by the cell's id, as a store of runs does."""
        return {cell: record.plain() for cell, record in self.records.items()}

    def read_examples(self, records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Returns the results of the test examples of records, by ``mlflow_run_id``, as a store of runs does."""
        kept = [one for one in records if one["cell"] in self.examples and one.get("mlflow_run_id")]
        return {str(one["mlflow_run_id"]): dict(self.examples[one["cell"]]) for one in kept}

    def _members(self) -> dict[str, bytes]:
        lines = [self.records[cell].model_dump_json() + "\n" for cell in sorted(self.records)]
        arrays = {
            f"{cell}/{name}.npy": _array_bytes(self.examples[cell][name])
            for cell in sorted(self.examples)
            for name in sorted(self.examples[cell])
        }
        study = json.dumps(self.study, ensure_ascii=False, separators=(",", ":")).encode()
        return {_STUDY_FILE: study, _RECORDS_FILE: "".join(lines).encode(), **arrays}


def _no_records(file: Path) -> StudyError:
    return StudyError(
        f"{file}: is neither the folder of a study nor a file of its records (lrlora study export DIR --records FILE)"
    )


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry without a time and with the permissions of a plain file, on every system."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    return entry


def _digest(members: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(members):
        digest.update(f"{name} {len(members[name])}\n".encode())
        digest.update(members[name])
    return digest.hexdigest()


def _read_members(file: Path) -> dict[str, bytes]:
    """The members of a file by name, except for ``format.json``, after a check of that."""
    with zipfile.ZipFile(file) as opened:
        entries = {entry.filename: entry for entry in opened.infolist()}
        if sum(entry.file_size for entry in opened.infolist()) > MOST_BYTES:
            raise StudyError(f"{file}: cannot be read: it has more than {MOST_BYTES >> 20} MiB")
        head = json.loads(_content(opened, entries.pop(_FORMAT_FILE))) if _FORMAT_FILE in entries else None
        if not isinstance(head, dict) or head.get("format") != FORMAT or not isinstance(head.get("version"), int):
            raise _no_records(file)
        if head["version"] > VERSION:
            raise StudyError(
                f"{file}: is of version {head['version']} of the format, and this lrlora reads {VERSION}: update lrlora"
            )
        members = {name: _content(opened, entry) for name, entry in entries.items()}
    if head.get("sha256") != _digest(members):
        raise ValueError("its content is not what was written")
    return members


def _content(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The content of a member, at most as much as the archive's directory says."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"compression {entry.compress_type}")
    with opened.open(entry) as member:
        return member.read(entry.file_size)  # without a size zipfile would first inflate all that there is


def _array_bytes(array: np.ndarray) -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def _array(content: bytes) -> np.ndarray:
    """A one-dimensional array of numbers, from the bytes of an ``.npy`` file."""
    import numpy as np

    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of another version of NumPy's format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in "biuf" or len(shape) != 1 or len(content) - stream.tell() != shape[0] * dtype.itemsize:
        raise ValueError("an array that is no column of numbers")
    return np.frombuffer(content, dtype, offset=stream.tell()).copy()

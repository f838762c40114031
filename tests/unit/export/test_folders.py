"""An export is written as a whole or not at all, and replaces nothing but an earlier export."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrlora.export.errors import ExportError
from lrlora.export.folders import check_free, whole_folder


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, by its path."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, text: str, stop: BaseException | None = None) -> None:
    with whole_folder(folder, force=True) as directory:
        (directory / "config.json").write_text(text)
        if stop is not None:
            raise stop


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), RuntimeError()])
def test_an_interrupted_export_leaves_what_was_there(tmp_path: Path, stop: BaseException) -> None:
    with pytest.raises(type(stop)):
        write(tmp_path / "deep" / "out", "half", stop)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "deep" / "out", "whole")
    with pytest.raises(type(stop)):
        write(tmp_path / "deep" / "out", "half", stop)
    assert contents(tmp_path) == {"deep/out/config.json": "whole"}


def test_a_replacement_that_cannot_take_its_place_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out", "old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError("no space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path / "out", "new")
    assert contents(tmp_path) == {"out/config.json": "old"}


def test_with_force_an_earlier_export_is_replaced_and_not_added_to(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "first")  # an empty folder is free
    (tmp_path / "out" / "stale").write_text("old")
    write(tmp_path / "out", "second")
    assert contents(tmp_path) == {"out/config.json": "second"}


def test_what_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="is a file"):
        check_free(tmp_path / "file", force=True)
    with pytest.raises(ExportError, match="cannot be made"):
        write(tmp_path / "file" / "out", "new")
    with pytest.raises(ExportError, match=r"is not empty.*--force"):
        check_free(tmp_path, force=False)
    with pytest.raises(ExportError, match="neither a model nor an adapter"):
        check_free(tmp_path, force=True)
    (tmp_path / "config.json").touch()
    check_free(tmp_path, force=True)
    with pytest.raises(ExportError, match="which it is made from"):
        check_free(tmp_path, force=True, sources=(tmp_path / "adapter",))

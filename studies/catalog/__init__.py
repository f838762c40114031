"""The built-in studies, one YAML file each."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def catalog_names() -> list[str]:
    """The names of the built-in studies, sorted."""
    return sorted(path.stem for path in _HERE.glob("*.yaml"))


def catalog_path(name: str) -> Path:
    """The file of a built-in study."""
    return _HERE / f"{name}.yaml"

"""What ``basis new`` and ``policy new`` write, and what they refuse before anything is written."""

from __future__ import annotations

import keyword
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlora.bases import BASES
from lrlora.policies import KINDS
from lrlora.registry import UnknownNameError, load_plugin
from lrlora.studies.authoring import new_package
from lrlora.studies.authoring.new_package import check_name, class_name_of, write_basis_package, write_policy_package
from lrlora.studies.errors import StudyError
from lrlora.studies.record.environment import describe_plugins, missing_plugins, plugin_registries

pytestmark = pytest.mark.usefixtures("forgetting")


@pytest.mark.parametrize("kind", ["shifted", "matrix"])
def test_a_new_basis_registers_itself_and_its_entry_point_names_its_class(tmp_path: Path, kind: str) -> None:
    made = write_basis_package("night_owl", tmp_path / "owl", kind)
    load_plugin(made.module)
    assert type(BASES.create("night_owl")).__name__ == made.class_name == "NightOwl"
    setup = tomllib.loads((made.folder / "pyproject.toml").read_text())
    assert setup["project"]["entry-points"]["lrlora.bases"] == {"night_owl": f"{made.module.stem}:NightOwl"}
    assert sorted(path.name for path in made.folder.iterdir()) == [
        "README.md",
        "lrlora_night_owl.py",
        "pyproject.toml",
        "test_lrlora_night_owl.py",
    ]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_new_policy_of_every_kind_is_one(tmp_path: Path, kind: str) -> None:
    made = write_policy_package(kind, "night_owl", tmp_path / "owl")
    load_plugin(made.module)
    KINDS[kind].create("night_owl")  # raises unless it is of the kind
    setup = tomllib.loads((made.folder / "pyproject.toml").read_text())
    assert KINDS[kind].group in setup["project"]["entry-points"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("LogisticBump", "'logistic_bump' would do"),
        ("my-basis", "'my_basis' would do"),
        ("3d", "'n3d' would do"),
        ("class", "'my_class' would do"),
        ("a/b", "'a_b' would do"),
        ("../x", "'x' would do"),
        ("", "'my' would do"),
        ("sinc", "there is a basis 'sinc' already"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_one_that_can(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(StudyError, match=said) as refused:
        write_basis_package(name, tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@given(st.text(max_size=12))
def test_whatever_is_suggested_is_accepted(name: str) -> None:
    try:
        check_name(BASES, name)
    except StudyError as error:
        if "would do" not in str(error):
            return
        near = str(error).rpartition("; ")[2].split("'")[1]
        if near not in BASES:
            check_name(BASES, near)


@given(st.from_regex(r"[a-z][a-z0-9]{0,5}(_[a-z0-9]{1,5}){0,3}", fullmatch=True))
def test_every_name_makes_a_class_name(name: str) -> None:
    made = class_name_of(name)
    assert made.isidentifier()
    assert not keyword.iskeyword(made)
    assert made[0].isupper()


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "owl").mkdir()
    with pytest.raises(StudyError, match="exists already"):
        write_basis_package("night_owl", tmp_path / "owl")
    assert not list((tmp_path / "owl").iterdir())


def test_a_missing_parent_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="does not exist"):
        write_basis_package("night_owl", tmp_path / "no" / "owl")
    with pytest.raises(StudyError, match="shifted and matrix"):
        write_basis_package("night_owl", tmp_path / "owl", "kernel")
    with pytest.raises(UnknownNameError, match="did you mean 'grid'"):
        write_policy_package("grids", "night_owl", tmp_path / "owl")


def test_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything left over where the disk was full after the first file."""
    written = []
    original = Path.write_text

    def full(self: Path, *arguments: Any, **options: Any) -> int:
        if written:
            raise OSError(28, "No space left on device")
        written.append(self)
        return original(self, *arguments, **options)

    monkeypatch.setattr(new_package.Path, "write_text", full)
    with pytest.raises(StudyError, match="No space left on device"):
        write_basis_package("night_owl", tmp_path / "owl")
    assert not list(tmp_path.iterdir())


def test_the_page_names_every_entry_point_group() -> None:
    page = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text(encoding="utf-8")
    table = page.partition("<!-- groups -->")[2].partition("<!-- end of groups -->")[0]
    named = re.findall(r"^\| `(lrlora\.\w+)`", table, flags=re.MULTILINE)
    assert sorted(named) == sorted(registry.group for registry in plugin_registries())


def test_a_record_says_which_plugins_are_missing(tmp_path: Path) -> None:
    assert missing_plugins({}) == []
    load_plugin(write_basis_package("night_owl", tmp_path / "owl").module)
    environment = {"plugins": describe_plugins()}
    assert environment["plugins"]["basis night_owl"].endswith("lrlora_night_owl.py")
    assert missing_plugins(environment) == []
    assert missing_plugins({"plugins": {"grid night_grid": "owls 2.0"}}) == [
        "grid night_grid, which came from owls 2.0"
    ]

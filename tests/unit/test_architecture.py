"""The shape of the house: which way the arrows point, what an import drags in, and that nothing is left out."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"lrlora": "lrlora", "bases": "lrlora.bases", "registry": "lrlora.registry", "studies": "lrlora.studies"}
MAX_LINES = 400


STUDIES = (
    ("cli",),
    ("authoring", "inspection", "search", "testing"),
    ("bench",),
    ("execution", "report"),
    ("training", "sampling"),
    ("stats",),
    ("record",),
    ("spec",),
    ("methods",),
    ("kinds",),
    ("models",),
    ("tasks",),
    ("catalog",),
)
"""The packages of studies in layers: each imports from the layers below its own, and nothing else of studies."""

UPWARD = {
    ("spec", "execution"): "Study.run, deferred until it is called",
    ("spec", "record"): "the type that Study.run returns",
    ("record", "report"): "Results.report and Results.print_summary, deferred until they are called",
    ("methods", "spec"): "spec.schema, which imports nothing of studies",
}
"""The imports that go up, each with its reason."""


@cache
def files(room: str) -> list[Path]:
    """The Python files of a room; the links from lrlora/ to the other rooms are not followed."""
    home = ROOT / room
    links = [path for path in home.iterdir() if path.is_symlink()]
    return sorted(path for path in home.rglob("*.py") if not any(path.is_relative_to(link) for link in links))


def module_name(room: str, path: Path) -> str:
    parts = [ROOMS[room], *path.relative_to(ROOT / room).with_suffix("").parts]
    return ".".join(parts).removesuffix(".__init__")


def imports(room: str) -> Iterator[tuple[str, str]]:
    """Every import statement of a room, wherever it stands: the place, and the full name of the module it asks for."""
    for path in files(room):
        package = module_name(room, path).split(".")
        if path.name != "__init__.py":
            package = package[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                yield from ((place, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                source = ".".join([*above, *filter(None, [node.module])])
                # With the name, since `from lrlora import studies` asks for a module of its own.
                yield from ((place, f"{source}.{alias.name}") for alias in node.names)


def made_at_import(node: ast.AST) -> Iterator[ast.ImportFrom]:
    """The ``from`` imports of a module, those for types included, but for those that wait inside of a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom):
            yield child
        elif not isinstance(child, ast.FunctionDef):
            yield from made_at_import(child)


@pytest.mark.parametrize("package", ["lrlora.registry", "lrlora.bases", "lrlora.policies"])
def test_modules_import_in_one_direction(package: str) -> None:
    modules = {module_name(room, path): path for room in ROOMS for path in files(room)}
    graph = {}
    for name, path in modules.items():
        if reaches(name, package):
            asked = list(made_at_import(ast.parse(path.read_text(encoding="utf-8"))))
            graph[name] = {f"{one.module}.{alias.name}" for one in asked for alias in one.names} & modules.keys()
            graph[name] |= {one.module for one in asked} & modules.keys()
    graphlib.TopologicalSorter(graph).prepare()  # raises where there is a cycle, with the modules that form it


def test_the_packages_of_studies_import_downwards() -> None:
    layer = {package: depth for depth, packages in enumerate(STUDIES) for package in packages}
    upward: dict[tuple[str, str], list[str]] = {}
    for place, name in imports("studies"):
        importer, imported = place.split("/")[1], name.removeprefix("lrlora.studies.").split(".")[0]
        known = name.startswith("lrlora.studies.") and importer in layer and imported in layer
        if known and importer != imported and layer[importer] >= layer[imported]:
            upward.setdefault((importer, imported), []).append(place)
    assert {pair: places for pair, places in upward.items() if pair not in UPWARD} == {}
    assert UPWARD.keys() <= upward.keys(), "an exception that is not needed any more"
    packages = {path.parent.name for path in files("studies") if path.parent.parent.name == "studies"}
    assert packages == layer.keys()


def reaches(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def test_the_registry_needs_the_standard_library_alone() -> None:
    strangers = [
        (place, name)
        for place, name in imports("registry")
        if name.split(".")[0] not in sys.stdlib_module_names and not reaches(name, "lrlora.registry")
    ]
    assert not strangers


def test_the_bases_need_the_registry_and_torch_alone() -> None:
    strangers = [
        (place, name)
        for place, name in imports("bases")
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(reaches(name, allowed) for allowed in ("lrlora.registry", "lrlora.bases", "torch"))
    ]
    assert not strangers


@pytest.mark.parametrize("outer", ["lrlora.studies", "optuna", "mlflow"])
def test_the_adapter_knows_nothing_of_studies(outer: str) -> None:
    assert not [(place, name) for place, name in imports("lrlora") if reaches(name, outer)]


def test_every_plugin_table_names_something_that_exists() -> None:
    """Lazy strings escape import checks and renames alike."""
    missing = []
    for room in ROOMS:
        for path in files(room):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                text = node.value if isinstance(node, ast.Constant) else None
                if isinstance(text, str) and (found := re.fullmatch(r"(lrlora(?:\.\w+)+):([A-Z]\w*|[a-z]\w*)", text)):
                    missing += [(str(path.relative_to(ROOT)), text)] if not defines(*found.groups()) else []
    assert not missing


def defines(module: str, attribute: str) -> bool:
    """Whether the source of ``module`` binds ``attribute`` at its top level."""
    for room, name in sorted(ROOMS.items(), key=lambda item: -len(item[1])):
        if reaches(module, name):
            base = (ROOT / room).joinpath(*module.removeprefix(name).strip(".").split("."))
            break
    else:
        return False
    path = next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)
    if path is None:
        return False
    bound: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in node.names}
    return attribute in bound


def loaded_by(code: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


@pytest.mark.parametrize("name", ["lrlora", "lrlora.registry"])
def test_an_import_loads_nothing_heavy(name: str) -> None:
    heavy = {"torch", "transformers", "peft", "optuna", "mlflow", "pandas", "matplotlib", "datasets"}
    assert not loaded_by(f"import {name}") & heavy


def test_the_bases_load_torch_at_most() -> None:
    assert not loaded_by("import lrlora.bases") & {"transformers", "peft", "optuna", "mlflow", "pandas"}


@pytest.mark.parametrize("room", ["bases", "registry", "studies"])
def test_a_folder_imported_by_its_bare_name_says_what_it_is_called(room: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", f"import {room}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    assert "ImportError" in ran.stderr.splitlines()[-1]
    assert f"lrlora.{room}" in ran.stderr.splitlines()[-1]


@pytest.mark.parametrize("room", ["bases", "registry", "studies"])
def test_the_links_show_the_rooms_where_their_import_names_say(room: str) -> None:
    link = ROOT / "lrlora" / room
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{room}"


def test_every_folder_with_modules_is_a_listed_package() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {path.parent: room for room in ROOMS for path in files(room)}
    found = {module_name(room, folder / "__init__.py"): folder for folder, room in folders.items()}
    without_init = sorted(str(path) for path in folders if not (path / "__init__.py").is_file())
    assert not without_init, "folders with modules need an __init__.py"

    listed = set(setup["packages"])
    assert listed == found.keys(), (
        f"[tool.setuptools] packages in pyproject.toml: add {sorted(found.keys() - listed)}, "
        f"remove {sorted(listed - found.keys())}"
    )
    for name, folder in found.items():
        place = folder.relative_to(ROOT).as_posix()
        if place != name.replace(".", "/"):
            mapped = setup["package-dir"].get(name)
            assert mapped == place, f"[tool.setuptools.package-dir] in pyproject.toml needs {name!r} = {place!r}"


def test_no_module_is_too_long_to_read() -> None:
    paths = [path for room in ROOMS for path in files(room)]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert not {path: length for path, length in lengths.items() if length > MAX_LINES}


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
    paths = [path for room in ROOMS for path in files(room)] + sorted((ROOT / "tests").rglob("*.py"))
    assert not [str(path) for path in paths if marks.search(path.read_text(encoding="utf-8"))]

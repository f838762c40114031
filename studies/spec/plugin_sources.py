"""The content of plugin code: a hash for each function and method of the files that a plugin consists of."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import CodeType
from typing import Any

_INSTALLED = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")})
_TOP = "module-level"


@lru_cache(maxsize=256)
def source_parts(factory: Callable[..., Any]) -> dict[str, str]:
    """Returns the parts that a plugin's numbers depend on, as names with hashes or versions.

    Files outside of installed packages count definition by definition, together with the files that they import.
    Comments, docstrings and formatting do not count. Installed packages count by name and version, and only those
    that define the plugin or a class that it inherits from. lrlora's own code is left to the training version.

    Args:
        factory: A class or function that a registry knows. The result is cached by the object, which is another one
            after a reload.

    Returns:
        ``{"source my_basis.py Bump.kernel": hash, "package my-bases": "1.2"}``.
    """
    found: dict[str, str] = {}
    files: dict[Path, None] = {}
    for one in inspect.getmro(factory) if isinstance(factory, type) else (factory,):
        path = _file_of(one.__module__)
        if _is_own(one.__module__):
            continue
        if path is None or one.__module__ == "__main__":
            found |= {f"source {one.__module__} {name}": text for name, text in _defined_in_session(one).items()}
        elif _is_installed(path):
            found |= _packages(one.__module__)
        else:
            files |= dict.fromkeys(_with_imports(one.__module__, path))
    for path, name in _names(list(files)).items():
        found |= {f"source {name} {member}": digest for member, digest in file_members(path).items()}
    return found


def file_members(path: Path) -> dict[str, str]:
    """Returns a hash of each function, method and class of a file, and one of its other statements."""
    tree = ast.parse(path.read_bytes())
    members: dict[str, list[ast.AST]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            methods = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
            for method in methods:
                members.setdefault(f"{node.name}.{method.name}", []).append(method)
            node.body = [one for one in node.body if one not in methods]
            members.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            members.setdefault(node.name, []).append(node)
        elif not _is_docstring(node):
            members.setdefault(_TOP, []).append(node)
    return {name: _hash("\n".join(map(_plain, nodes))) for name, nodes in members.items()}


def _plain(node: Any) -> str:
    """Returns a syntax tree as text, the same for all versions of Python, without docstrings."""
    if isinstance(node, list):
        return f"[{','.join(map(_plain, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(value, list) and value and _is_docstring(value[0]):
            value = value[1:]
        if value not in (None, []):
            fields.append(f"{name}={_plain(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _with_imports(module: str, path: Path, seen: dict[Path, None] | None = None) -> dict[Path, None]:
    """Returns a file and all files outside of installed packages that it imports, also within functions."""
    seen = {} if seen is None else seen
    if path in seen:
        return seen
    seen[path] = None
    for name in _imported(module, path):
        other = None if _is_own(name) or name == "__main__" else _file_of(name)
        if other is not None and other.suffix == ".py" and not _is_installed(other):
            _with_imports(name, other, seen)
    return seen


def _imported(module: str, path: Path) -> Iterator[str]:
    """Returns the names of the modules that a file imports, and of the packages that hold them."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            names = [f"{source}.{alias.name}" for alias in node.names] if source else []
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


def _file_of(module: str) -> Path | None:
    """Returns the file of a module. A module that is not loaded is searched for and not imported."""
    loaded = sys.modules.get(module)
    origin = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, AttributeError, ValueError):
            return None
        origin = spec.origin if spec is not None and spec.has_location else None
    return Path(origin).resolve() if origin else None


def _is_own(module: str) -> bool:
    top = module.partition(".")[0]
    return top == "lrlora" or (top in sys.stdlib_module_names and top != "__main__")


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _INSTALLED) or "site-packages" in path.parts


def _packages(module: str) -> dict[str, str]:
    names = packages_distributions().get(module.partition(".")[0], [])
    return {f"package {name}": version(name) for name in sorted(set(names)) if name not in ("torch", "lrlora")}


def _names(paths: list[Path]) -> dict[Path, str]:
    """Returns short names of files: with the folder if two have the same name."""
    several = {path.name for path in paths if [other.name for other in paths].count(path.name) > 1}
    return {path: f"{path.parent.name}/{path.name}" if path.name in several else path.name for path in paths}


def _defined_in_session(factory: Any) -> dict[str, str]:
    """Of what was typed into an interactive session or a script: the object and what it calls by global names."""
    found: dict[str, str] = {}
    waiting = [factory]
    while waiting:
        one = waiting.pop()
        name = getattr(one, "__qualname__", "")
        if not name or name in found:
            continue
        codes = _codes(one)
        try:
            found[name] = _hash(_plain(ast.parse(inspect.cleandoc(inspect.getsource(one)))))
        except (OSError, TypeError, SyntaxError):
            found[name] = _hash("".join(code.co_code.hex() + repr(_constants(code)) for code in codes))
        space = getattr(sys.modules.get(one.__module__), "__dict__", {})
        for used in {used for code in codes for used in code.co_names} & space.keys():
            value = space[used]
            if getattr(value, "__module__", None) == one.__module__ and hasattr(value, "__qualname__"):
                waiting.append(value)
            elif isinstance(value, (int, float, str, tuple)):
                found[used] = _hash(repr(value))
    return found


def _codes(one: Any) -> list[CodeType]:
    values = vars(one).values() if isinstance(one, type) else (one,)
    found = [code for value in values if isinstance(code := getattr(value, "__code__", None), CodeType)]
    return [inner for code in found for inner in _nested(code)]


def _nested(code: CodeType) -> list[CodeType]:
    return [code, *(deep for inner in code.co_consts if isinstance(inner, CodeType) for deep in _nested(inner))]


def _constants(code: CodeType) -> list[Any]:
    return [value for value in code.co_consts if not isinstance(value, CodeType)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

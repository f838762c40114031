"""A package with a basis or a policy in it, complete enough to be checked and installed as it stands."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from lrlora.registry import Registry
from lrlora.studies.errors import StudyError

BASIS_KINDS = ("shifted", "matrix")


@dataclass(frozen=True)
class NewPackage:
    """A package that was written.

    Attributes:
        folder: Where it is.
        module: The file with the code.
        class_name: The class in it.
    """

    folder: Path
    module: Path
    class_name: str


def write_basis_package(name: str, out: Path | None = None, kind: str = "shifted") -> NewPackage:
    """Write the package of a new basis.

    Args:
        name: What the basis is to be called.
        out: The folder to make; by default the name, in the current folder.
        kind: ``"shifted"`` for a kernel that is shifted over the grid, ``"matrix"`` for N functions of any other sort.

    Raises:
        StudyError: A name or a folder that cannot be, or one that is taken; nothing is written then.
    """
    from lrlora.bases import BASES

    if kind not in BASIS_KINDS:
        raise StudyError(f"--kind {kind!r}: there are {' and '.join(BASIS_KINDS)}")
    return _write(BASES, name, out, f"basis_{kind}.py.jinja", {"command": "basis", "thing": "basis", "argument": ""})


def write_policy_package(kind: str, name: str, out: Path | None = None) -> NewPackage:
    """Write the package of a new policy.

    Args:
        kind: The field of a config that takes it, such as ``"grid"``.
        name: What the policy is to be called.
        out: As for :func:`write_basis_package`.

    Raises:
        UnknownNameError: There is no such kind of policy.
        StudyError: As :func:`write_basis_package`.
    """
    import lrlora.policies as policies
    from lrlora.studies.authoring.policy_figure import DRAWN
    from lrlora.studies.authoring.policy_kinds import registry_of

    registry = registry_of(kind)
    words = {
        "command": "policy",
        "thing": kind,
        "argument": f"{kind} ",
        "table": next(name for name, value in vars(policies).items() if value is registry),
        "drawn": kind in DRAWN,
    }
    return _write(registry, name, out, f"{kind}.py.jinja", words)


def class_name_of(name: str) -> str:
    """Returns the name of the class, as ruff wants it.

    >>> class_name_of("logistic_bump"), class_name_of("none"), class_name_of("basis")
    ('LogisticBump', 'NonePlugin', 'BasisPlugin')
    """
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    # What the template imports, and what Python has already.
    taken = keyword.iskeyword(camel) or camel in _IMPORTED
    return f"{camel}Plugin" if taken else camel


_IMPORTED = (
    *("Basis", "ShiftedBasis", "Properties", "Tensor", "Grid", "AmplitudeInit", "Start", "BandwidthInit"),
    *("PositiveMap", "InputScale", "Sharing", "Scope", "Placement", "LayerChoice", "RankAllocation"),
    *("Ellipsis", "NotImplemented", "Exception", "Warning"),
)


def check_name(registry: Registry[Any], name: str) -> None:
    """See that something new can be called so.

    Raises:
        StudyError: It cannot, or the name is taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        near = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
        near = re.sub(r"^([0-9])", r"n\1", near)
        near = f"my_{near}".rstrip("_") if keyword.iskeyword(near) or not near else near
        raise StudyError(
            f"{name!r} is no name for a {registry.kind}: lower-case letters, digits and single underscores, a letter "
            f"first, no word of Python's; {near!r} would do"
        )
    if name in registry:
        entry = registry.entry(name)
        raise StudyError(
            f"there is a {registry.kind} {name!r} already ({entry.target}, {entry.origin}): choose another"
        )


def _write(registry: Registry[Any], name: str, out: Path | None, template: str, words: dict[str, Any]) -> NewPackage:
    check_name(registry, name)
    folder = Path(name) if out is None else out
    if folder.exists() or folder.is_symlink():
        raise StudyError(f"{folder}: exists already; give another folder with --out")
    if not folder.absolute().parent.is_dir():
        raise StudyError(f"{folder}: the folder {folder.absolute().parent} does not exist")
    module, class_name = f"lrlora_{name}", class_name_of(name)
    words |= {
        "name": name,
        "module": module,
        "class_name": class_name,
        "distribution": module.replace("_", "-"),
        "group": registry.group,
        "words": name.replace("_", " "),
    }
    sources = {
        f"{module}.py": template,
        f"test_{module}.py": "test.py.jinja",
        "pyproject.toml": "pyproject.toml.jinja",
        "README.md": "README.md.jinja",
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lrlora.studies.authoring", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # what comes out is Python, TOML and Markdown
    )
    files = {path: environment.get_template(source).render(words) for path, source in sources.items()}
    _write_folder(folder, files)
    return NewPackage(folder, folder / f"{module}.py", class_name)


def _write_folder(folder: Path, files: dict[str, str]) -> None:
    """Write a folder, whole or not at all."""
    try:
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
        try:
            partial.chmod(0o755)  # a temporary folder is its owner's alone, a package is not
            for path, text in files.items():
                (partial / path).write_text(text, encoding="utf-8")
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written: {error.strerror}") from None

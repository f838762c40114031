"""Compare what was built with the tree it was built from: `check_wheel.py TREE FROM_SDIST FROM_TREE`.

FROM_SDIST is a folder with an sdist and the wheel built from it, FROM_TREE one with a wheel built from the tree.
Every file of a room belongs in the wheel, under the room's import name, and nothing else does.
"""

from __future__ import annotations

import os
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOMS = {"lrlora": "lrlora", "bases": "lrlora/bases", "registry": "lrlora/registry", "studies": "lrlora/studies"}


def room_files(tree: Path) -> Iterator[Path]:
    """Every file of the rooms, relative to the tree; the links inside lrlora/ are not followed."""
    for room in ROOMS:
        for folder, _, names in os.walk(tree / room):
            if Path(folder).name != "__pycache__":
                yield from (Path(folder, name).relative_to(tree) for name in names)


def wheel_contents(wheel: Path) -> dict[str, bytes]:
    """Names and contents, but for RECORD, whose order is free."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith(".dist-info/RECORD")}


def wheel_problems(tree: Path, contents: dict[str, bytes]) -> Iterator[str]:
    """Files that are missing from the wheel, differ in it, or do not belong there."""
    expected = {}
    for path in room_files(tree):
        room, rest = path.parts[0], path.parts[1:]
        expected["/".join((ROOMS[room], *rest))] = path
    for name, path in sorted(expected.items()):
        if name not in contents:
            package = ".".join(Path(name).parent.parts)
            yield (
                f"{path} is not in the wheel: pyproject.toml lists packages under [tool.setuptools] packages (and "
                f"package-dir), other files under package-data; the package here is {package!r}"
            )
        elif contents[name] != (tree / path).read_bytes():
            yield f"{path} differs from {name} in the wheel"
    for name in sorted(contents.keys() - expected.keys()):
        if not name.split("/")[0].endswith(".dist-info"):
            yield f"{name} is in the wheel, but no file of the tree belongs there"


def sdist_problems(tree: Path, sdist: Path) -> Iterator[str]:
    """Files that the sdist lacks, or holds twice: at their own place and behind a link."""
    with tarfile.open(sdist) as archive:
        names = Counter(name.partition("/")[2] for name in archive.getnames())
    for path in sorted(room_files(tree)):
        places = [path.as_posix(), ROOMS[path.parts[0]] + path.as_posix().removeprefix(path.parts[0])]
        copies = sum(names[place] for place in set(places))
        if copies != 1 or not names[path.as_posix()]:
            yield f"{path} is in the sdist {copies} times, not once at its own place"
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        if not names[name]:
            yield f"{name} is not in the sdist"


def main(tree: Path, from_sdist: Path, from_tree: Path) -> int:
    """Print every problem; the exit status says whether there was one."""
    first, second = (wheel_contents(next(folder.glob("*.whl"))) for folder in (from_sdist, from_tree))
    problems = [
        *wheel_problems(tree, first),
        *sdist_problems(tree, next(from_sdist.glob("*.tar.gz"))),
        *(
            f"{name} differs between the wheel built from the sdist and the one built from the tree"
            for name in sorted(first.keys() | second.keys())
            if first.get(name) != second.get(name)
        ),
    ]
    print("\n".join(problems) or f"wheel, sdist and tree agree: {len(first)} files")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))

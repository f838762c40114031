"""Use the installed wheel as a user would: `check_installed.py TREE`, run by the Python it is installed for.

TREE is the source tree, which must play no part, except that its folders must refuse to be imported by their own names.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

IMPORT_NAMES = ("lrlora", "lrlora.registry", "lrlora.bases", "lrlora.studies")
MAPPED_FOLDERS = ("registry", "bases", "studies")


def run(*command: str, folder: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in ``folder`` and keep what it prints."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def problems(tree: Path) -> Iterator[str]:
    """What a user of the wheel would stumble over."""
    site = Path(sysconfig.get_path("purelib")).resolve()
    with tempfile.TemporaryDirectory() as elsewhere:
        for name in IMPORT_NAMES:
            found = run(sys.executable, "-c", f"import {name}; print({name}.__file__)", folder=elsewhere)
            if found.returncode:
                yield f"import {name} fails:\n{found.stderr}"
            elif site not in Path(found.stdout.strip()).resolve().parents:
                yield f"{name} comes from {found.stdout.strip()}, not from {site}"
        program = Path(sysconfig.get_path("scripts"), "lrlora")
        helped = run(str(program), "--help", folder=elsewhere)
        if helped.returncode or "lrlora" not in helped.stdout:
            yield f"lrlora --help fails:\n{helped.stdout}{helped.stderr}"
    for name in MAPPED_FOLDERS:
        stray = run(sys.executable, "-c", f"import {name}", folder=tree)
        if "ImportError" not in stray.stderr or f"lrlora.{name}" not in stray.stderr:
            yield f"import {name} in the source tree should name lrlora.{name} in an ImportError, but:\n{stray.stderr}"


if __name__ == "__main__":
    found = list(problems(Path(sys.argv[1])))
    print("\n".join(found) or "the installed wheel works from another folder")
    sys.exit(bool(found))

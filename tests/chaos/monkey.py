"""Kills drivers and workers of studies at random moments, goes on with the same command, and checks what is recorded.

``python tests/chaos/monkey.py --kills 200`` prints a table for docs/RELIABILITY.md; ``--real`` trains a ViT on digits
with a checkpoint after every step.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil
import victims

from lrlora.studies.execution.driver import CHECKPOINTS

BLOWS = {"driver, kill -9": 5, "worker, kill -9": 3, "driver, SIGTERM": 1, "driver, Ctrl-C": 1}
"""Who is hit by what, and how often in ten times."""
_SIGNALS = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
_HELD = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = 130
_WORKERS = 2
_DAMAGED = 0.3
"""How often a driver that is gone finds a checkpoint damaged, where there is one."""


@dataclass
class Tally:
    """What happened.

    Attributes:
        blows: By kind; those that hit nobody are left out.
        studies: That were completed.
        cells: Of those studies.
        begun: How often a cell of fake training was begun.
        damaged: Checkpoints, each the newest of its cell.
        resumed: How often a cell of real training went on from a checkpoint.
        wrong: What does not hold.
        seconds: Of all.
    """

    blows: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    cells: int = 0
    begun: int = 0
    damaged: int = 0
    resumed: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """How many blows there were."""
        return sum(self.blows.values())

    def table(self) -> str:
        """In Markdown."""
        rows = [(name, str(self.blows[name])) for name in BLOWS]
        rows += [("studies completed", str(self.studies)), ("their cells", str(self.cells))]
        rows += [("cells begun", str(self.begun))] if self.begun else []
        rows += [("resumed from a checkpoint", str(self.resumed))] if self.resumed else []
        rows += [("checkpoints damaged", str(self.damaged))] if self.damaged else []
        rows += [("faults in the record", str(len(self.wrong))), ("seconds", f"{self.seconds:.0f}")]
        return "\n".join(["| what | number |", "| --- | ---: |", *(f"| {name} | {count} |" for name, count in rows)])


class Monkey:
    """Hits studies until it has hit often enough.

    Args:
        folder: An empty one.
        kills: How many blows.
        real: Train for real.
        cells: Of each study, where training is fake.
        each: Blows to a study, after which it is left alone to its end.
        longest: Seconds between two blows at most.
        seed: Of chance.
        say: Takes a line about each study.
    """

    def __init__(
        self,
        folder: Path,
        kills: int,
        real: bool = False,
        cells: int = 48,
        each: int = 20,
        longest: float = 3.0,
        seed: int = 0,
        say: Callable[[str], None] = print,
    ) -> None:
        self.folder, self.kills, self.real, self.each, self.longest = folder, kills, real, each, longest
        self.study = victims.real_study() if real else victims.fake_study(cells)
        self.chance, self.say = random.Random(seed), say
        self.tally = Tally()

    def go(self) -> Tally:
        """Returns what happened."""
        began = time.monotonic()
        undisturbed = victims.expected(self.study, self.folder, fake=not self.real)  # and imports all, for the forks
        while self.tally.kills < self.kills and not self.tally.wrong:
            name = f"study{self.tally.studies}"
            out, notes = self.folder / name, self.folder / f"{name}-notes"
            self._torment(out, notes, min(self.each, self.kills - self.tally.kills))
            self.tally.wrong += victims.check(out, undisturbed) if not self.tally.wrong else []
            self.tally.studies += 1
            self.tally.cells += len(undisturbed)
            self.tally.begun += _begun(notes)
            self.tally.resumed += victims.resumptions(out) if self.real else 0
            self.tally.seconds = time.monotonic() - began
            self.say(f"{name}: {self.tally.kills} blows so far, {self.tally.seconds:.0f} s, {self.tally.wrong}")
        return self.tally

    def _torment(self, out: Path, notes: Path, blows: int) -> None:
        """Hit one study so often, and let it end."""
        driver: int | None = None
        left = blows
        while True:
            if driver is None:
                driver = self._start(out, notes)
            status = _wait(driver, self.chance.uniform(0, self.longest) if left else 500.0)
            if status is None and not left:
                os.kill(driver, signal.SIGKILL)
                self.tally.wrong.append(f"{out.name} does not end: {_said(out)}")
                return
            if status == 0:
                return
            if status is not None:
                self.tally.wrong.append(f"the driver ended with status {status}: {_said(out)}")
                return
            (blow,) = self.chance.choices(list(BLOWS), list(BLOWS.values()))
            whom, _, signal_name = blow.partition(", ")
            if whom == "worker":
                left -= self._hit_worker(blow)
                continue
            begun = _begun(notes)
            os.kill(driver, _SIGNALS[signal_name])
            status = _wait(driver, 60.0)
            if status not in (-signal.SIGKILL, -signal.SIGTERM, _INTERRUPTED, 0):  # by SIGTERM: in its first moments
                self.tally.wrong.append(f"after {blow} the driver ended with status {status}: {_said(out)}")
                return
            if _begun(notes) - begun > _WORKERS:
                self.tally.wrong.append(f"{blow} was not heard: {_said(out)}")
            if status == 0:
                return
            self.tally.blows[blow] += 1
            left, driver = left - 1, None
            if self.chance.random() < _DAMAGED:
                self.tally.damaged += _damage(out, self.chance)

    def _hit_worker(self, blow: str) -> int:
        """Kill a worker; returns how many were killed, which is none where none runs."""
        workers = psutil.Process(forkserver._forkserver._forkserver_pid).children()  # type: ignore[attr-defined]
        if not workers:
            return 0
        try:
            self.chance.choice(workers).kill()
        except psutil.NoSuchProcess:
            return 0
        self.tally.blows[blow] += 1
        return 1

    def _start(self, out: Path, notes: Path) -> int:
        """Start the command in a fork of this process, which has imported everything; returns its process."""
        # A signal between the fork and the try would let the fork go on with what this process does.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
            return pid
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
            # The server that forks workers is this process's child, and not the fork's; it serves both.
            forkserver._forkserver.ensure_running = forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
            _drive(self.study, out, None if self.real else victims.fake_training(notes, seconds=0.03))
            status = 0
        except KeyboardInterrupt:
            status = _INTERRUPTED
        except BaseException:
            _log(out).write_text(traceback.format_exc())
        finally:
            os._exit(status)


def _drive(study: Any, out: Path, training: Any) -> None:
    from lrlora.studies.execution.resources import Execution
    from lrlora.studies.execution.run import run_study

    with _log(out).open("w", encoding="utf-8") as log:
        from rich.console import Console

        run_study(study, "smoke", out, Console(file=log), Execution(workers=_WORKERS, checkpoint_minutes=0), training)


def _wait(pid: int, seconds: float) -> int | None:
    """The exit status of a child, or None if it does not end in time."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.005)


def _begun(notes: Path) -> int:
    return len(list(notes.iterdir())) if notes.exists() else 0


def _damage(out: Path, chance: random.Random) -> int:
    """Change a byte of the newest checkpoint of a cell; returns how many files were changed, which is one or none."""
    files = sorted((out / CHECKPOINTS).glob("*.safetensors"))
    if not files:
        return 0
    cell = chance.choice(files).name.partition("-")[0]
    newest = max(file for file in files if file.name.startswith(f"{cell}-"))
    try:
        content = bytearray(newest.read_bytes())
    except FileNotFoundError:  # its worker has not ended yet
        return 0
    content[chance.randrange(len(content))] ^= 1
    newest.write_bytes(content)
    return 1


def _log(out: Path) -> Path:
    return out.with_suffix(".log")


def _said(out: Path) -> str:
    return _log(out).read_text(encoding="utf-8") if _log(out).exists() else ""


def main() -> int:
    """Returns the exit status: 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--real", action="store_true", help="train for real, with checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if not asked.real:
        from lrlora.studies.spec.fingerprints import Fingerprints

        Fingerprints.data = lambda self, task, split: split  # type: ignore[method-assign]
        Fingerprints.weights = lambda self, backbone: "3"  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(prefix="lrlora-chaos-") as folder:
        options: dict[str, Any] = {"each": 12, "longest": 8.0} if asked.real else {}
        options["say"] = partial(print, flush=True)
        tally = Monkey(Path(folder), asked.kills, asked.real, seed=asked.seed, **options).go()
    print(tally.table())
    print("\n".join(tally.wrong))
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

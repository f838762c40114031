"""What ``lrlora basis check`` and ``lrlora policy check`` share: checks that say how each ended, and the status."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrlora.studies.errors import StudyError

if TYPE_CHECKING:
    from lrlora.testing import Outcome

Expect = Annotated[
    list[str] | None,
    typer.Option("--expect", metavar="CHECK=REASON", help="A check that will fail, and why. Repeatable."),
]

_MARKS = {
    "passed": ("ok", "green"),
    "failed": ("FAILED", "bold red"),
    "expected": ("expected", "yellow"),
    "not applicable": ("-", "dim"),
    "passed unexpectedly": ("PASSED", "bold red"),
}


def read_expected(lines: Sequence[str] | None) -> dict[str, str]:
    """Expected failures from ``--expect``.

    Raises:
        StudyError: One without a reason.

    >>> read_expected(["check_parity=odd by design"])
    {'check_parity': 'odd by design'}
    """
    found = {}
    for line in lines or ():
        name, _, reason = line.partition("=")
        if not name.strip() or not reason.strip():
            raise StudyError(f"--expect {line!r}: give the name of a check and a reason, as in check_parity=REASON")
        found[name.strip()] = reason.strip()
    return found


def report_checks(name: str, things: Sequence[Any], expected: Mapping[str, str], as_json: bool) -> int:
    """Run all checks of some things, each said as it ends; the exit status, 1 if anything is wrong.

    Raises:
        UnknownNameError: An expected failure names no check.
    """
    from lrlora.registry import UnknownNameError
    from lrlora.testing import checks_of, run_checks

    names = [[check.name for check in checks_of(thing)] for thing in things]
    known = [check for group in names for check in group]
    for check in expected:
        if check not in known:
            raise UnknownNameError("check", check, known)
    reporter = _Reporter(len(known), silent=as_json)
    started = time.perf_counter()
    for thing, own in zip(things, names, strict=True):
        of_these = {check: reason for check, reason in expected.items() if check in own}
        run_checks(thing, of_these, reporter)
    seconds = time.perf_counter() - started
    if as_json:
        print(json.dumps({"name": name, "ok": reporter.ok, "seconds": round(seconds, 3), "checks": reporter.rows}))
    else:
        reporter.close(name, seconds)
    return 0 if reporter.ok else 1


class _Reporter:
    """Told of every outcome; on a terminal a line below says how many are to come."""

    def __init__(self, total: int, silent: bool) -> None:
        from rich.console import Console

        self.rows: list[dict[str, Any]] = []
        self.ok = True
        self._total = total
        self._silent = silent
        self._console = Console(soft_wrap=True)
        self._status = None if silent or not self._console.is_terminal else self._console.status(f"0 of {total}")
        if self._status is not None:
            self._status.start()
        self._last = time.perf_counter()

    def __call__(self, outcome: Outcome) -> None:
        now = time.perf_counter()
        self.rows.append({**vars(outcome), "seconds": round(now - self._last, 4)})
        self._last = now
        self.ok = self.ok and outcome.ok
        if self._silent:
            return
        from rich.text import Text

        mark, style = _MARKS[outcome.status]
        said = outcome.about if outcome.status == "passed" else outcome.message
        if outcome.status == "passed unexpectedly":
            said = f"was expected to fail ({outcome.message}) and did not"
        self._console.print(Text(f"{mark:<9}", style=style), Text(f"{outcome.check:<32} "), Text(said), sep="")
        if self._status is not None:
            self._status.update(f"{len(self.rows)} of {self._total}")

    def close(self, name: str, seconds: float) -> None:
        if self._status is not None:
            self._status.stop()
        counts = {status: sum(row["status"] == status for row in self.rows) for status in _MARKS}
        said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        self._console.print(
            f"{name} {'conforms' if self.ok else 'does not conform'}: {said}, in {seconds:.1f} s",
            markup=False,
            highlight=False,
            style="bold" if self.ok else "bold red",
        )

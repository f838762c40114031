"""What `nox -s gpu` runs: the tests beside it, then the benchmarks; and runs/gpu/GPU.md, which says what was found.

Every file of tests has a process of its own, since an error in a kernel leaves CUDA unusable for the rest of a process.
The page is written after each part, so that a session that is cut off leaves what it found. Arguments go to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import torch

from lrlora.studies.record.environment import describe_environment

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUT = ROOT / "runs" / "gpu"
DEVICE = os.environ.get("LRLORA_GPU_TESTS_DEVICE", "cuda")
NO_TESTS = 5
"""pytest's exit status if none was selected."""

SHORT_STEP = ["--bases", "sinc", "--beside", "lora", "--steps", "1", "--tokens", "2x8", "--trained", "1"]
SHORT_LAYER = ["--bases", "sinc", "--beside", "lora", "--steps", "1", "--tokens", "4"]
BENCHMARKS = {
    "cuda": [
        ["step"],
        ["step", "--tokens", "64x128", "--bases", "sinc,fourier", "--beside", "lora,dora"],
        ["layer", "4096", "14336", "--tokens", "2048"],
        ["layer", "4096", "14336", "--tokens", "2048", "--bending", "strong", "--bases", "sinc,fourier"],
        ["layer", "4096", "14336", "--tokens", "1", "--bases", "sinc,fourier"],
    ],
    "cpu": [["step", *SHORT_STEP], ["layer", "64", "48", *SHORT_LAYER]],
}


@dataclass
class Page:
    """The page, as far as it is known."""

    tests: list[tuple[str, str, float, str]] = field(default_factory=list)
    """Name, outcome, seconds and message."""
    benchmarks: list[tuple[str, bool, float, str]] = field(default_factory=list)
    """Command, whether it ended well, seconds and what it printed."""
    started: float = field(default_factory=time.time)

    @property
    def failed(self) -> int:
        """How many tests and benchmarks failed."""
        return sum(outcome != "passed" for _, outcome, *_ in self.tests) + sum(
            not good for _, good, *_ in self.benchmarks
        )

    def write(self) -> None:
        """Write all that is known by now."""
        total = len(self.tests) + len(self.benchmarks)
        lines = ["# What was seen on a GPU", ""]
        if DEVICE != "cuda":
            lines += ["**A rehearsal on the CPU: it says nothing about a GPU.**", ""]
        lines += [f"{total - self.failed} passed, {self.failed} failed, {time.time() - self.started:.0f} s.", ""]
        lines += ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in surroundings().items()), ""]
        lines += ["## Tests", "", "| test | outcome | s |", "| --- | --- | ---: |"]
        lines += [f"| {name} | {outcome} | {seconds:.1f} |" for name, outcome, seconds, _ in self.tests]
        for name, _, _, message in self.tests:
            lines += ["", f"### {name}", "", "```", message, "```"] if message else []
        for command, good, seconds, printed in self.benchmarks:
            lines += ["", f"## `{command}`", "", f"{'Passed' if good else '**Failed**'}, {seconds:.0f} s.", ""]
            lines += [printed] if good else ["```", printed, "```"]
        (OUT / "GPU.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def surroundings() -> dict[str, str]:
    """The device, the machine and the versions."""
    found = describe_environment()
    device = {"device": "cpu"}
    if DEVICE == "cuda":
        its = torch.cuda.get_device_properties(0)
        device = {
            "device": f"{its.name}, {its.total_memory / (1 << 30):.0f} GiB",
            "compute capability": f"{its.major}.{its.minor}",
            "CUDA": str(torch.version.cuda),
        }
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    commit, changed = found["git"]["commit"], " with changes" if found["git"]["dirty"] else ""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        **device,
        "processor": f"{found['processor']}, {found['cores']} cores",
        "Python": f"{found['python']} on {found['platform']}",
        "versions": versions,
        "commit": f"{commit}{changed}",
    }


def run_tests(file: Path, arguments: list[str], page: Page) -> None:
    """Run one file of tests and add what it found to the page."""
    report = OUT / f"{file.stem}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-m", "gpu", f"--junitxml={report}", "-o", "junit_family=xunit1"]
    status = subprocess.run([*command, *arguments, str(file)], cwd=ROOT, check=False).returncode
    if status == NO_TESTS:
        return
    if not report.exists():
        page.tests.append((file.stem, "failed", 0.0, f"the process ended with status {status} and without a report"))
        return
    for case in ElementTree.parse(report).iter("testcase"):
        wrong = [part for part in case if part.tag in ("failure", "error", "skipped")]
        message = "\n".join((part.text or part.get("message") or "").strip()[-3000:] for part in wrong)
        outcome = "failed" if wrong else "passed"
        page.tests.append((f"{file.stem}: {case.get('name')}", outcome, float(case.get("time") or 0), message))


def run_benchmark(number: int, arguments: list[str], page: Page) -> None:
    """Run one benchmark and add its table to the page."""
    start = "from lrlora.studies.cli import main; main()"
    full = ["bench", *arguments, "--device", DEVICE]
    began = time.time()
    command = [sys.executable, "-c", start, *full, "--json", str(OUT / f"bench-{number}.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    good = done.returncode == 0
    printed = "\n".join(line.rstrip() for line in (done.stdout if good else done.stderr[-3000:]).splitlines()).strip()
    page.benchmarks.append((f"lrlora {' '.join(full)}", good, time.time() - began, printed))


def main(arguments: list[str]) -> int:
    """Run everything; returns the exit status."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        print(
            f"PyTorch {torch.__version__} of {sys.prefix} sees no CUDA device: it needs a build for CUDA",
            file=sys.stderr,
        )
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYTHONHASHSEED", "0")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    page = Page()
    for file in sorted(HERE.glob("test_*.py")):
        run_tests(file, arguments, page)
        page.write()
    if not arguments:
        for number, benchmark in enumerate(BENCHMARKS[DEVICE]):
            print(f"lrlora bench {' '.join(benchmark)}", flush=True)
            run_benchmark(number, benchmark, page)
            page.write()
    print(f"{OUT / 'GPU.md'}: {page.failed} failed")
    return 1 if page.failed or not page.tests else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

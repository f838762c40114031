"""The native passes: builds ``entrywise.cpp`` once per machine, on first use, and calls it through ctypes.

The environment variable ``LRLORA_NATIVE`` says whether they are used:

- ``auto`` (default): where there is a C++ compiler, ``CXX`` if that is set, otherwise one of :data:`COMPILERS`.
- ``never``: the passes are the eager ones of :mod:`.eager`.

The library is kept in the user's cache, ``$XDG_CACHE_HOME/lrlora`` or ``~/.cache/lrlora`` (on Windows
``%LOCALAPPDATA%/lrlora``), under a name with a hash of the source, the flags and the processor. It is loaded only if no
other user can write there. Any failure is logged as one warning, and the passes are then eager.

The library makes no thread pool. It calls ``GOMP_parallel`` of the OpenMP runtime that PyTorch has loaded, so that both
run on the same threads: a second pool would compete with the first for the cores. Where PyTorch's runtime doesn't have
this function (macOS, Windows), the library runs on one thread, which is still faster than eager passes on two or three.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

SOURCE, HEADER = (Path(__file__).with_name(f"entrywise.{ending}") for ending in ("cpp", "h"))
MODES = ("auto", "never")
COMPILERS = ("c++", "g++", "clang++", "cc")
FLAGS = (
    *("-std=c++17", "-O3", "-shared", "-fPIC", "-fno-exceptions", "-fno-rtti"),
    # Not -ffast-math: NaN and infinity must come through, and linked into a library it would make the whole process
    # treat denormal numbers as zero.
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
)
BUILD_SECONDS = 120
"""A compiler that has not finished by then is stopped. It takes one or two seconds."""

WORTH_THREADS = 1 << 15
"""Entries from which on a pass runs on several threads."""

MOST_COEFFICIENTS = 65
"""Of a series: the size of arrays in ``entrywise.cpp``."""


class NativeError(RuntimeError):
    """The library can't be built or loaded; the message says why."""


class Library:
    """The functions of ``entrywise.cpp``.

    Args:
        path: Of the built library.

    Raises:
        OSError: If the library can't be loaded.
    """

    def __init__(self, path: Path) -> None:
        pointer, size = ctypes.c_void_p, ctypes.c_int64
        self._entries = ctypes.CDLL(str(path)).lrlora_entries
        matrix = (pointer, size)
        self._entries.argtypes = [
            *(pointer, ctypes.c_int, ctypes.c_int, size, size, size),
            *(*matrix, *matrix, *matrix, *matrix, *matrix, *matrix, pointer),
        ]
        self._entries.restype = ctypes.c_int
        self._parallel = _gomp_parallel()

    def entries(
        self,
        B: Tensor,
        A: Tensor,
        coefficients: Tensor,
        *,
        table: bool,
        base: Tensor | None,
        out: Tensor | None,
        gradient: Tensor | None,
    ) -> Tensor | None:
        """Runs one pass over the entries, for tensors that :func:`takes` accepts.

        Args:
            B: ``(m, r)``.
            A: ``(r, n)``.
            coefficients: Of p.
            table: Whether p is a table; otherwise it is a series.
            base: ``(m, n)``, added to p(BA) in ``out``.
            out: ``(m, n)``, becomes ``base`` + p(BA).
            gradient: ``(m, n)``, is multiplied by p'(BA).

        Returns:
            The gradient of the coefficients, float64, if there is a ``gradient``.

        Raises:
            MemoryError: If the memory for the sums of each block can't be allocated.
        """
        (m, r), n = B.shape, A.shape[1]
        coefficients = coefficients.contiguous()
        sums = torch.zeros(len(coefficients), dtype=torch.float64) if gradient is not None else None
        if m * n == 0:
            return sums
        threads = torch.get_num_threads() if m * n > WORTH_THREADS else 1
        failed = self._entries(
            self._parallel,
            *(threads, int(table), m, n, r),
            *(*_rows(B), *_rows(A), coefficients.data_ptr(), len(coefficients)),
            *(*_rows(base), *_rows(out), *_rows(gradient)),
            None if sums is None else sums.data_ptr(),
        )
        if failed:
            raise MemoryError(f"no memory for the passes over {m} x {n} entries")
        for written in (out, gradient):
            if written is not None and not written.is_inference():
                torch.autograd.graph.increment_version(written)
        return sums


def _rows(matrix: Tensor | None) -> tuple[int | None, int]:
    return (None, 0) if matrix is None else (matrix.data_ptr(), matrix.stride(0))


def takes(*tensors: Tensor | None) -> bool:
    """Whether the native passes can read and write these: float32 on CPU, in rows that are contiguous."""
    return all(
        t is None
        or (
            type(t) in (Tensor, torch.nn.Parameter)
            and t.device.type == "cpu"
            and t.dtype == torch.float32
            and t.layout == torch.strided
            and (t.stride(-1) == 1 or t.shape[-1] <= 1)
            and not t.is_neg()
        )
        for t in tensors
    )


# -- found or built, once per process --------------------------------------------------------------------------

_lock = threading.Lock()
_found: list[Library | None] = []


def library() -> Library | None:
    """Returns the library, or None if ``LRLORA_NATIVE`` is ``never`` or it can't be had.

    Raises:
        ValueError: If ``LRLORA_NATIVE`` has another value than those of :data:`MODES`.
    """
    if not _found:
        with _lock:
            if not _found:
                _found.append(_find())
    return _found[0]


def _find() -> Library | None:
    mode = os.environ.get("LRLORA_NATIVE", "auto")
    if mode not in MODES:
        raise ValueError(f"LRLORA_NATIVE must be one of {', '.join(MODES)}, got {mode!r}")
    if mode == "never":
        return None
    try:
        path = _cache() / f"entrywise-{_fingerprint()}.so"
        if not path.exists():
            _build(path)
        _require_private(path)
        found = Library(path)
        _check(found)
        return found
    except (NativeError, OSError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        logger.warning("passes over the entries of ΔW are eager and take several times as long: %s", reason)
        return None


def _cache() -> Path:
    """The folder of the library, which only this user can write to.

    Raises:
        NativeError: If others can.
        OSError: If it can't be made.
        RuntimeError: If the user has no home.
    """
    local = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else os.environ.get("XDG_CACHE_HOME")
    folder = (Path(local) if local else Path.home() / ".cache") / "lrlora"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    _require_private(folder)
    return folder


def _require_private(path: Path) -> None:
    """Raises NativeError if another user owns ``path`` or can write to it: they could have their code run."""
    if sys.platform == "win32":
        return
    status = path.stat()
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NativeError(f"{path} must be owned and writable by its user alone")


def _machine_flags() -> tuple[str, ...]:
    return ("-march=native",) if platform.machine().lower() in ("x86_64", "amd64", "i686") else ("-mcpu=native",)


def _fingerprint() -> str:
    system = (platform.system(), platform.machine(), *platform.libc_ver())
    sources = (path.read_text(encoding="utf-8") for path in (SOURCE, HEADER))
    parts = [*sources, *FLAGS, *_machine_flags(), *system, _processor()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _processor() -> str:
    """What says whether code for the native processor runs on this one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    named = ("vendor_id", "cpu family", "model", "model name", "flags", "Features", "CPU implementer", "CPU part")
    return "\n".join(line for line in lines if line.split(":")[0].strip() in named)


def _compiler() -> list[str]:
    chosen = os.environ.get("CXX")
    command = shlex.split(chosen) if chosen else next(([name] for name in COMPILERS if shutil.which(name)), [])
    if not command:
        raise NativeError(f"no C++ compiler among {', '.join(COMPILERS)}; install one or set CXX")
    if not shutil.which(command[0]):
        raise NativeError(f"the compiler {command[0]!r} that CXX names is not found")
    return command


def _build(path: Path) -> None:
    """Builds under a name of its own and moves it, so that processes that build at once don't meet.

    Raises:
        NativeError: If there is no compiler or it fails.
        OSError: If the folder can't be written to.
    """
    command = [*_compiler(), *FLAGS, *_machine_flags()]
    with tempfile.TemporaryDirectory(prefix="build-", dir=path.parent) as folder:
        built = Path(folder) / path.name
        try:
            subprocess.run(
                [*command, "-o", str(built), str(SOURCE)],
                check=True,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=BUILD_SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines()
            said = next((line for line in lines if "error" in line), lines[0] if lines else "")
            raise NativeError(f"{command[0]} failed with status {error.returncode}: {said}") from error
        except subprocess.TimeoutExpired as error:
            raise NativeError(f"{command[0]} did not finish within {BUILD_SECONDS} s") from error
        built.chmod(0o700)
        os.replace(built, path)


def _gomp_parallel() -> ctypes.c_void_p | None:
    """``GOMP_parallel`` of the runtime whose number of threads is PyTorch's, or None.

    It is looked up where the loader looks for PyTorch's own calls: first in the whole process (a preloaded runtime),
    then in what PyTorch was linked with.
    """
    if sys.platform == "win32":
        return None
    for name in (None, torch._C.__file__):
        try:
            runtime = ctypes.CDLL(name)
            if runtime.omp_get_max_threads() == torch.get_num_threads():
                return ctypes.cast(runtime.GOMP_parallel, ctypes.c_void_p)
        except (OSError, AttributeError):
            continue
    return None


def _check(found: Library) -> None:
    """Raises NativeError if the library computes something wrong: t³ on a few entries, its derivative and its sums."""
    like = torch.empty(0, dtype=torch.float32, device="cpu")
    B, A = (like.new_tensor([2 * i / size - 1 for i in range(size)]) for size in (37, 53))
    t, gradient = B[:, None] * A, like.new_ones(37, 53)
    out = torch.empty_like(t)
    c = like.new_tensor([0.0, 0.75, 0.0, 0.25])
    sums = found.entries(B[:, None], A[None], c, table=False, base=t, out=out, gradient=gradient)
    right = (
        sums is not None
        and torch.allclose(out, t + t**3, atol=1e-5)
        and torch.allclose(gradient, 3 * t**2, atol=1e-5)
        and torch.allclose(sums[1::2], torch.stack([t.double().sum(), (4 * t**3 - 3 * t).double().sum()]), atol=1e-2)
    )
    if not right:
        raise NativeError("the library that was built computes wrong values")

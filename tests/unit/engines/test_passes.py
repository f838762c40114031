"""The passes over p(BA), native and eager, against plain formulas in float64."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from lrlora.engines import native
from lrlora.engines.passes import Series, Table, pull_back, values

KINDS = ("native", "float32", "float64")
HAS_COMPILER = bool(os.environ.get("CXX")) or any(map(shutil.which, native.COMPILERS))


@contextmanager
def eager() -> Iterator[None]:
    """Passes are eager inside."""
    found = native._found[:]
    native._found[:] = [None]
    try:
        yield
    finally:
        native._found[:] = found


# -- references ------------------------------------------------------------------------------------------------


def series(c: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p(t) and p'(t)."""
    p = np.polynomial.Chebyshev(c)
    inside = np.clip(t, -1, 1)
    slope = p.deriv()(inside) if len(c) > 1 else 0 * inside
    return p(inside) + slope * (t - inside), slope


def catmull_rom(v: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p(t) and p'(t): cubic Hermite cells whose slopes at the nodes are central differences."""
    cells = len(v) - 3
    inside = np.clip(t, -1, 1)
    x = (inside + 1) * cells / 2
    i = np.clip(np.floor(x).astype(int), 0, cells - 1)
    u = x - i
    left, right = v[i + 1], v[i + 2]
    into, out_of = (v[i + 2] - v[i]) / 2, (v[i + 3] - v[i + 1]) / 2
    a, b = 2 * (left - right) + into + out_of, 3 * (right - left) - 2 * into - out_of
    slope = (into + u * (2 * b + 3 * a * u)) * cells / 2
    return left + u * (into + u * (b + u * a)) + slope * (t - inside), slope


def coefficient_gradient(
    p: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], count: int, t: np.ndarray, g: np.ndarray
) -> np.ndarray:
    """p is linear in its coefficients: its derivative in each is p with that one coefficient."""
    return np.array([(g * p(unit, t)[0]).sum() for unit in np.eye(count)])


def function(table: bool, size: int, seed: int, dtype: torch.dtype) -> Series | Table:
    """A series of degree ``size`` with falling coefficients, or a smooth function in ``size`` + 1 cells."""
    random = np.random.default_rng(seed)
    if table:
        nodes = -1 + 2 / (size + 1) * np.arange(-1, size + 3)
        return Table(torch.tensor(np.sin(3 * nodes + random.uniform(0, 6)), dtype=dtype))
    c = random.uniform(-1, 1, size + 1) / (1 + np.arange(size + 1)) ** 2
    return Series(torch.tensor(c, dtype=dtype))


def in_rows(matrix: Tensor, pad: int) -> Tensor:
    """The same numbers with ``pad`` others between the rows."""
    return torch.cat([matrix, matrix.new_full((matrix.shape[0], pad), 7.0)], dim=1)[:, : matrix.shape[1]]


# -- values and gradients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@given(
    m=st.integers(0, 40),
    n=st.integers(0, 40) | st.sampled_from([64, 255, 256, 257, 700]),
    r=st.integers(1, 20),
    table=st.booleans(),
    size=st.integers(0, 64),
    reach=st.sampled_from([0.3, 1.0, 1.5]),
    pad=st.integers(0, 3),
    with_base=st.booleans(),
    seed=st.integers(0, 9),
)
@example(m=130, n=520, r=4, table=False, size=8, reach=1.0, pad=0, with_base=True, seed=0)
@example(m=130, n=520, r=3, table=True, size=999, reach=1.1, pad=0, with_base=True, seed=0)
def test_passes_agree_with_plain_formulas(
    kind: str, m: int, n: int, r: int, table: bool, size: int, reach: float, pad: int, with_base: bool, seed: int
) -> None:
    dtype = torch.float64 if kind == "float64" else torch.float32
    torch.manual_seed(seed)
    B, A, base, incoming = (
        in_rows(2 * torch.rand(shape, dtype=dtype) - 1, pad) for shape in ((m, r), (r, n), (m, n), (m, n))
    )
    t = B.double().numpy() @ A.double().numpy()
    A *= reach / max(abs(t).max(initial=0), 1e-3)
    t = B.double().numpy() @ A.double().numpy()
    p = function(table, size, seed, dtype)
    reference, c = (catmull_rom if table else series), p.coefficients.double().numpy()
    added = base if with_base else None

    def run() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        gradient, out = in_rows(incoming, pad), in_rows(torch.empty_like(incoming), pad)
        forward = values(B, A, p, base=added)
        sums = pull_back(B, A, p, gradient, base=added, out=out)
        without_out = in_rows(incoming, pad)
        torch.testing.assert_close(pull_back(B, A, p, without_out), sums, rtol=0, atol=0)
        torch.testing.assert_close(without_out, gradient, rtol=0, atol=0)
        return forward, out, gradient, sums

    if kind == "native":
        assert native.takes(B, A, base, incoming)
        forward, out, gradient, sums = run()
    else:
        with eager():
            forward, out, gradient, sums = run()

    # Rounding of t, a sum of r terms, and of places in a cell, magnified by the derivatives of p, and of T_k.
    rounding, k = 4 * torch.finfo(dtype).eps * (4 + r), np.arange(len(c))
    steep, curved = (len(c), len(c)) if table else (1 + (k**2 * abs(c)).sum(), 1 + (k**4 * abs(c)).sum())
    p_t, slope = reference(c, t)
    expected = p_t + (base.double().numpy() if with_base else 0)
    g = incoming.double().numpy()
    np.testing.assert_allclose(forward, expected, rtol=0, atol=rounding * steep)
    np.testing.assert_allclose(out, expected, rtol=0, atol=rounding * steep)
    np.testing.assert_allclose(gradient, g * slope, rtol=0, atol=rounding * curved)
    assert sums.dtype == torch.float64
    error = abs(sums.numpy() - coefficient_gradient(reference, len(c), t, g))
    assert (error <= rounding * (len(c) if table else 1 + k**2) * (1 + np.linalg.norm(g))).all()


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, B, A, c, kind):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(B, A, c)
        ctx.kind = kind
        return values(B, A, kind(c))

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        B, A, c = ctx.saved_tensors
        gradient = gradient.clone()
        sums = pull_back(B, A, ctx.kind(c), gradient)
        return gradient @ A.mT, B.mT @ gradient, sums, None


@pytest.mark.parametrize(("kind", "count"), [(Series, 1), (Series, 2), (Series, 8), (Table, 4), (Table, 20)])
def test_gradients_are_those_of_finite_differences(kind: type[Series | Table], count: int) -> None:
    torch.manual_seed(0)
    B, A, c = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((4, 2), (2, 5), (count,)))
    assert (B @ A).abs().max() > 1
    assert torch.autograd.gradcheck(lambda *given: _Function.apply(*given, kind), (B, A, c))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("table", "size"), [(False, 0), (False, 1), (False, 5), (False, 20), (True, 15), (True, 16)])
def test_what_is_not_finite_comes_out_where_it_went_in(kind: str, table: bool, size: int) -> None:
    dtype = torch.float64 if kind == "float64" else torch.float32
    p = function(table, size, 0, dtype)
    A = torch.ones(1, 300, dtype=dtype)
    B = torch.tensor([[0.5], [torch.nan], [torch.inf], [-torch.inf], [-3.0], [1e30]], dtype=dtype)
    gradient = torch.ones(6, 300, dtype=dtype)
    if kind == "native":
        out = values(B, A, p)
        sums = pull_back(B, A, p, gradient)
    else:
        with eager():
            out = values(B, A, p)
            sums = pull_back(B, A, p, gradient)
    finite = torch.tensor([True, False, False, False, True, True])
    assert torch.equal(out.isfinite(), finite[:, None].expand_as(out))
    assert gradient[1].isnan().all()
    assert gradient[finite].isfinite().all()
    if table or size > 0:
        assert not sums.isfinite().all()


# -- where it runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("table", "size"), [(False, 8), (False, 40), (True, 15), (True, 9000)])
def test_bits_do_not_depend_on_the_number_of_threads(table: bool, size: int, threads: Callable[[int], None]) -> None:
    torch.manual_seed(0)
    B, A, base, incoming = torch.rand(700, 5), torch.rand(5, 300) / 5, torch.randn(700, 300), torch.randn(700, 300)
    p = function(table, size, 0, torch.float32)
    found = []
    for count in (1, 2, 5):
        threads(count)
        gradient, out = incoming.clone(), torch.empty(700, 300)
        sums = pull_back(B, A, p, gradient, base=base, out=out)
        found.append((sums, gradient, out, values(B, A, p, base=base)))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.parametrize("kind", [Series, Table])
def test_meta_tensors_give_shapes_and_dtypes(kind: type[Series | Table]) -> None:
    B, A, c = (torch.empty(shape, device="meta", dtype=torch.bfloat16) for shape in ((6, 2), (2, 9), (20,)))
    assert values(B, A, kind(c)).shape == (6, 9)
    gradient = torch.empty(6, 9, device="meta", dtype=torch.bfloat16)
    sums = pull_back(B, A, kind(c), gradient, out=torch.empty_like(gradient))
    assert (sums.shape, sums.dtype, sums.device.type) == ((20,), torch.float64, "meta")


def test_a_change_in_place_is_known_to_autograd() -> None:
    gradient = torch.ones(3, 3)
    before = gradient._version
    pull_back(torch.ones(3, 1), torch.ones(1, 3), Series(torch.ones(3)), gradient)
    assert gradient._version > before


@pytest.mark.parametrize("wrong", ["base", "out", "A"])
def test_shapes_that_do_not_match_are_refused(wrong: str) -> None:
    given = {"A": torch.ones(1, 4), "base": torch.ones(3, 4), "out": torch.ones(3, 4), wrong: torch.ones(2, 4)}
    with pytest.raises(ValueError, match=rf"{wrong} .*got .*\(2, 4\)"):
        values(torch.ones(3, 1), given["A"], Series(torch.ones(2)), base=given["base"], out=given["out"])


# -- the library -----------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, in a process that has not looked for the library."""
    monkeypatch.setattr(native, "_found", [])
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("LRLORA_NATIVE", raising=False)
    return tmp_path / "lrlora"


def test_without_a_compiler_passes_are_eager_and_say_so_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++ -v")
    for _ in range(2):
        assert torch.equal(values(torch.ones(2, 1), torch.ones(1, 3), Series(torch.ones(2))), torch.full((2, 3), 2.0))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "/nowhere/c++" in caplog.text


def test_a_compiler_that_fails_is_quoted(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", f"{sys.executable} -c 'raise SystemExit(\"error: no such option\")'")
    assert native.library() is None
    assert "status 1: error: no such option" in caplog.text
    assert list(cache.iterdir()) == []


def test_a_cache_that_others_can_write_to_is_not_loaded_from(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    assert native.library() is None
    assert f"{cache} must be owned" in caplog.text


def test_a_library_that_computes_wrong_values_is_not_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(native, "_build", lambda path: path.touch(mode=0o700))
    monkeypatch.setattr(native, "Library", Mock(**{"return_value.entries.return_value": torch.zeros(4)}))
    assert native.library() is None
    assert "computes wrong values" in caplog.text


def test_native_passes_can_be_switched_off(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LRLORA_NATIVE", "never")
    assert native.library() is None
    assert not caplog.records
    monkeypatch.setattr(native, "_found", [])
    monkeypatch.setenv("LRLORA_NATIVE", "always")
    with pytest.raises(ValueError, match="LRLORA_NATIVE must be one of auto, never, got 'always'"):
        native.library()


_BUILD = """
import ctypes
from pathlib import Path
from unittest.mock import Mock
import torch
from lrlora.engines import native
from lrlora.engines.passes import Series, values

def openmp():
    maps = Path("/proc/self/maps")
    names = {line.split()[-1] for line in maps.read_text().splitlines()} if maps.exists() else set()
    return {name for name in names if "omp" in name.rsplit("/")[-1]}

torch.randn(300, 300) @ torch.randn(300, 300)
before = openmp()
library = native.library()
values(torch.ones(300, 1), torch.ones(1, 300), Series(torch.ones(2)))
assert openmp() == before, openmp()
if library is not None and library._parallel is not None:
    runtime = ctypes.CDLL(torch._C.__file__)
    for count in (3, 2):
        torch.set_num_threads(count)
        assert runtime.omp_get_max_threads() == count
print(library is not None)
"""


def test_processes_that_build_at_once_share_one_library_and_pytorchs_threads(cache: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", _BUILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        said, error = process.communicate()
        assert process.returncode == 0, error
        assert said.strip() == str(HAS_COMPILER)
    if HAS_COMPILER:
        (library,) = cache.iterdir()
        assert library.stat().st_mode & 0o077 == 0

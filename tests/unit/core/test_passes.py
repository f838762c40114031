"""Compiled passes are the same as those that are not, and wait until they are worth it."""

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed

from lrlora.engines import compiler as compiling
from lrlora.engines import passes
from lrlora.engines.compiler import Compiler
from lrlora.engines.passes import Passes, passes_of


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    made = Compiler()
    for module in (compiling, passes):
        monkeypatch.setattr(module, "compiler", made)
    return made


def test_a_degree_between_takes_the_next() -> None:
    assert passes_of(7).degree == 8
    assert passes_of(7) is passes_of(8)


@pytest.mark.parametrize("degree", [1, 3, 4, 10])
def test_compiled_passes_agree_with_the_others(compiler: Compiler, degree: int) -> None:
    torch.manual_seed(0)
    A, B, base, incoming = torch.rand(2, 37), torch.rand(29, 2) / 2, torch.randn(29, 37), torch.randn(29, 37)
    c, slope = torch.randn(degree + 1), torch.randn(degree)
    found = []
    for mode in ("never", "always"):
        compiler.mode = mode
        made = Passes(degree)
        results = []
        for on in (base, None):
            out = torch.empty(29, 37)
            made.evaluate(B, A, on, out, c)
            t, gradient = B @ A, incoming.clone()
            moments = made.pull_back_(t, on, gradient, c, slope)
            results += [out, moments, gradient, *([t] if on is not None else [])]
        found.append(results)
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-4)


def test_compilation_waits_until_enough_has_been_computed(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler.mode = "auto"
    monkeypatch.setattr(compiling, "WORTH_STARTING", 250)
    t = torch.zeros(10, 10)
    made = Passes(3)
    assert [made._is_compiled(t) for _ in range(3)] == [False, False, True]
    compiler.mode = "never"
    assert not made._is_compiled(t)


def fails_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_(*_: object, **__: object) -> object:
        def call(*_: object) -> None:
            raise error

        return call

    monkeypatch.setattr(torch, "compile", compile_)


def test_without_a_compiler_the_passes_go_on(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(BackendCompilerFailed("inductor", RuntimeError("no C++ compiler"), None), monkeypatch)
    compiler.mode = "always"
    A, B, out = torch.rand(2, 5), torch.rand(4, 2), torch.empty(4, 5)
    c = torch.tensor([0.0, 1.0, 0.5, 0.25])
    Passes(3).evaluate(B, A, None, out, c)
    t = B @ A
    torch.testing.assert_close(out, t + 0.5 * 4 * t**2 + 0.25 * 4 * t**3)
    assert compiler.mode == "never"


def test_another_error_is_not_taken_for_a_missing_compiler(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(MemoryError(), monkeypatch)
    compiler.mode = "always"
    with pytest.raises(MemoryError):
        Passes(3).evaluate(torch.rand(4, 2), torch.rand(2, 5), None, torch.empty(4, 5), torch.zeros(4))
    assert compiler.mode == "always"

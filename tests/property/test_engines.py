"""Every engine gives what the definition gives, in value and in every gradient, to its tolerance."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lrlora.bases import BASES
from lrlora.engines import ENGINES, Engine, EngineError, scratch
from lrlora.engines.ranges import range_of
from lrlora.transfer import TransferFunction

BASIS_NAMES = ["bspline", "fourier", "gaussian", "polynomial", "sinc"]
SHAPES = (23, 17, 3)  # out, in, r


@dataclass(frozen=True)
class Case:
    """One update to evaluate."""

    basis: str
    n: int
    max_z: float
    residual: bool
    centered: bool
    seed: int

    def leaves(self, dtype: torch.dtype) -> list[Tensor]:
        """A, B, a, log ω, grid."""
        generator = torch.Generator().manual_seed(self.seed)
        out, inside, r = SHAPES

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        A, B = normal(r, inside), normal(out, r)
        B = B * (self.max_z / (B @ A).abs().max())
        grid = torch.linspace(-3, 3, self.n, dtype=torch.float64) if self.n > 1 else torch.zeros(1, dtype=torch.float64)
        leaves = (A, B, normal(self.n) / self.n, 0.1 * normal(self.n), grid)
        return [leaf.to(dtype).requires_grad_() for leaf in leaves]

    def transfer(self, leaves: list[Tensor]) -> TransferFunction:
        basis = BASES.create(self.basis)
        _, _, a, log_omega, grid = leaves
        return TransferFunction(basis, a, log_omega.exp(), grid, 1.0, 0.5, self.residual, self.centered)

    def run(self, engine: Engine, dtype: torch.dtype) -> list[Tensor]:
        """ΔW and the gradient of every leaf under one fixed incoming gradient."""
        leaves = self.leaves(dtype)
        incoming = torch.randn(SHAPES[:2], dtype=torch.float64, generator=torch.Generator().manual_seed(self.seed + 1))
        delta = engine.delta(leaves[0], leaves[1], self.transfer(leaves))
        gradients = torch.autograd.grad((delta * incoming.to(dtype)).sum(), leaves, allow_unused=True)
        return [delta.detach(), *(torch.zeros(1) if g is None else g for g in gradients)]


CASES = st.builds(
    Case,
    basis=st.sampled_from(BASIS_NAMES),
    n=st.sampled_from([3, 8, 33, 128]),
    # Chebyshev polynomials of high degree explode outside the interval of 3, and no engine mends that.
    max_z=st.sampled_from([1e-3, 0.03, 0.3, 1.0, 2.0]),
    residual=st.booleans(),
    centered=st.booleans(),
    seed=st.integers(0, 2**31 - 2),
)
# Gradients of θ are sums over all entries that partly cancel, which magnifies a relative error of the terms; those of ω
# and of the grid go through one derivative more.
MAGNIFICATION = {"ΔW": 10, "A": 30, "B": 30, "a": 30, "ω": 100, "grid": 100}


def assert_close(case: Case, found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    # The gradient of a is a sum that can cancel to next to nothing, and where the amplitudes of the functions that
    # matter happen to be small, so are the gradients of ω and the grid: what they can be held to is the size they would
    # have at an ordinary amplitude, and a hundredth of what the sum usually comes to.
    A, B, a = (leaf.detach() for leaf in case.leaves(torch.float64)[:3])
    usual = max(float(expected[3].norm()), 0.01 * float((B @ A).norm()))
    sizes = {"a": usual, "ω": usual * float(a.norm()) / case.n**0.5, "grid": usual * float(a.norm()) / case.n**0.5}
    for (name, factor), f, e in zip(MAGNIFICATION.items(), found, expected, strict=True):
        size = max(float(e.norm()), sizes.get(name, 0.0))
        error = float((f.double() - e).norm())
        assert error <= factor * tolerance * size + 1e-12, f"{name}: relative error {error / max(size, 1e-300):.1e}"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("engine", "tolerance"), [("polynomial", 1e-5), ("tabulated", 1e-5), ("auto", 1e-3)])
@settings(max_examples=60)
@given(case=CASES)
@example(case=Case("sinc", 50, 2.0, residual=True, centered=True, seed=0))
@example(case=Case("bspline", 50, 0.03, residual=False, centered=True, seed=0))
def test_engines_agree_with_the_definition(engine: str, tolerance: float, dtype: torch.dtype, case: Case) -> None:
    # Uncentred, a narrow range is a constant and a small part of it, of which float32 holds only so many digits.
    in_float32 = dtype is torch.float32 and not case.centered
    assume(not in_float32 or case.max_z > 0.01)
    expected = case.run(ENGINES.create("direct"), torch.float64)
    try:
        found = case.run(ENGINES.create(engine, tolerance=tolerance), dtype)
    except EngineError:
        assert engine == "polynomial", "only this engine may refuse"
        return
    assert_close(case, found, expected, max(tolerance, 2e-4) if in_float32 else tolerance)


@pytest.mark.parametrize(
    ("engine", "basis"),
    [("polynomial", name) for name in BASIS_NAMES if name != "bspline"] + [("tabulated", name) for name in BASIS_NAMES],
)
def test_the_backward_passes_are_derivatives_of_the_forward_passes(engine: str, basis: str) -> None:
    case = Case(basis, 6, 0.5, residual=True, centered=True, seed=3)
    made = ENGINES.create(engine, tolerance=1e-6)
    leaves = case.leaves(torch.float64)
    weight = torch.randn(SHAPES[:2], dtype=torch.float64)
    bias = torch.randn(SHAPES[0], dtype=torch.float64)
    x = torch.randn(2, 3, SHAPES[1], dtype=torch.float64, requires_grad=True)

    def adapted(x: Tensor, *leaves: Tensor) -> Tensor:
        return made.linear(x, weight, bias, leaves[0], leaves[1], case.transfer(list(leaves)))

    # A table is read by straight pieces, whose own derivative is a step function: differences see the steps.
    assert torch.autograd.gradcheck(adapted, (x, *leaves), atol=5e-3 if engine == "tabulated" else 1e-4, rtol=1e-3)


@pytest.mark.parametrize("engine", ["direct", "polynomial", "tabulated", "auto"])
@given(case=CASES)
@settings(max_examples=25)
def test_the_fused_layer_is_the_base_layer_plus_the_update(engine: str, case: Case) -> None:
    made = ENGINES.create(engine, tolerance=1e-3)
    leaves = case.leaves(torch.float64)
    transfer = case.transfer(leaves)
    weight = torch.randn(SHAPES[:2], dtype=torch.float64)
    x = torch.randn(4, SHAPES[1], dtype=torch.float64)
    try:
        fused = made.linear(x, weight, None, leaves[0], leaves[1], transfer)
    except EngineError:
        assert engine == "polynomial"
        return
    apart = x @ (weight + made.delta(leaves[0], leaves[1], transfer)).T
    torch.testing.assert_close(fused, apart)


@pytest.mark.parametrize("engine", ["polynomial", "tabulated"])
def test_blocks_do_not_show(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("sinc", 12, 1.0, residual=True, centered=True, seed=7)
    whole = case.run(ENGINES.create(engine), torch.float64)
    monkeypatch.setattr(scratch, "BLOCK", 40)  # two rows and a rest
    for in_blocks, at_once in zip(case.run(ENGINES.create(engine), torch.float64), whole, strict=True):
        torch.testing.assert_close(in_blocks, at_once, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ["direct", "polynomial", "tabulated", "auto"])
@pytest.mark.parametrize("basis", BASIS_NAMES)
@pytest.mark.parametrize("residual", [True, False])
def test_a_centred_update_of_nothing_is_exactly_nothing(engine: str, basis: str, residual: bool) -> None:
    case = Case(basis, 50, 1.0, residual=residual, centered=True, seed=1)
    leaves = case.leaves(torch.float32)
    with torch.no_grad():
        leaves[1].zero_()
    delta = ENGINES.create(engine).delta(leaves[0], leaves[1], case.transfer(leaves))
    assert delta.count_nonzero() == 0


@given(seed=st.integers(0, 2**31), r=st.integers(1, 6), scale=st.floats(1e-4, 1e4))
def test_the_range_bounds_every_entry_and_the_rms_is_exact(seed: int, r: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    A, B = torch.randn(r, 9, generator=generator), torch.randn(11, r, generator=generator) * scale
    found = range_of(A, B, 3.0)
    z = 3.0 * (B.double() @ A.double())
    assert found.rho >= float(z.abs().max())
    assert found.rms == pytest.approx(float(z.square().mean().sqrt()), rel=1e-4)


@pytest.mark.parametrize("engine", ["polynomial", "tabulated", "auto"])
def test_a_diverged_adapter_gives_nan_and_no_exception(engine: str) -> None:
    case = Case("sinc", 8, 1.0, residual=True, centered=True, seed=1)
    leaves = case.leaves(torch.float32)
    with torch.no_grad():
        leaves[1][0, 0] = float("nan")
    delta = ENGINES.create(engine).delta(leaves[0], leaves[1], case.transfer(leaves))
    assert delta[0].isnan().all()
    torch.autograd.grad(delta.sum(), leaves)


def test_the_polynomial_engine_names_the_engine_to_use_where_it_refuses() -> None:
    case = Case("bspline", 50, 6.0, residual=True, centered=True, seed=0)
    with pytest.raises(EngineError, match="use engine='tabulated', or 'auto'"):
        case.run(ENGINES.create("polynomial", tolerance=1e-5), torch.float64)
    leaves = case.leaves(torch.float64)
    assert "table of" in ENGINES.create("auto", tolerance=1e-5).describe(leaves[0], leaves[1], case.transfer(leaves))

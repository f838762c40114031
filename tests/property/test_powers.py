"""A polynomial of BA through its monomials is what the definition says, in value and in every gradient."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lrlora.engines.powers import (
    monomial_count,
    monomials,
    power_delta,
    power_forward,
    power_linear,
    power_pullback,
)

F64 = torch.float64
NAMES = ["x", "weight", "bias", "A", "B", "c"]


@dataclass(frozen=True)
class Case:
    """One layer. The first row of A is larger by ``lopsided`` than the last, and the columns of B make up for it."""

    r: int
    degree: int
    lopsided: float
    max_t: float
    seed: int
    out: int = 11
    inside: int = 9
    batch: tuple[int, ...] = (3, 2)
    scale: float = 0.3

    def leaves(self, dtype: torch.dtype = F64) -> list[Tensor]:
        """x, weight, bias, A, B, c, of which x, weight and B are not contiguous."""
        generator = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=F64, generator=generator)

        x = normal(self.inside, *reversed(self.batch)).permute(*range(len(self.batch), -1, -1))
        share = self.lopsided ** torch.linspace(1, 0, self.r, dtype=F64)
        A, B = share[:, None] * normal(self.r, self.inside), normal(self.r, self.out).T / share
        B = B * (self.max_t / (self.scale * B @ A).abs().max())
        leaves = (x, normal(self.inside, self.out).T, normal(self.out), A, B, normal(self.degree + 1))
        return [leaf.to(dtype).requires_grad_() for leaf in leaves]

    def incoming(self, dtype: torch.dtype = F64) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randn(*self.batch, self.out, dtype=F64, generator=generator).to(dtype)


def by_definition(A: Tensor, B: Tensor, c: Tensor, scale: float) -> Tensor:
    t = scale * (B @ A)
    return sum((c_k * t**k for k, c_k in enumerate(c[1:], start=1)), start=c[0].expand_as(t))


def defined_layer(x: Tensor, weight: Tensor, bias: Tensor, A: Tensor, B: Tensor, c: Tensor, scale: float) -> Tensor:
    return x @ (weight + by_definition(A, B, c, scale)).T + bias


def differentiated(layer: Callable[..., Tensor], leaves: list[Tensor], incoming: Tensor, scale: float) -> list[Tensor]:
    """The layer's value, and the gradient of each of its leaves."""
    y = layer(*leaves, scale)
    return [y.detach(), *torch.autograd.grad((y * incoming).sum(), leaves)]


def terms(case: Case) -> list[Tensor]:
    """How large the terms are whose sums the layer and its gradients are, and which may cancel in them."""
    sizes = [leaf.detach().abs().requires_grad_() for leaf in case.leaves()]
    return differentiated(defined_layer, sizes, case.incoming().abs(), case.scale)


def assert_close(
    found: Tensor, expected: Tensor, name: str, of: Tensor | None = None, tolerance: float = 1e-10
) -> None:
    """To the tolerance relative to what is expected; of the terms ``of`` a hundredth of it may be lost besides."""
    assert found.shape == expected.shape, name
    error, size = float((found.double() - expected.double()).norm()), float(expected.double().norm())
    allowed = tolerance * (size + (0.0 if of is None else 0.01 * float(of.norm())))
    assert error <= allowed, f"{name}: error {error:.1e} of {size:.1e}"


CASES = st.builds(
    Case,
    r=st.integers(1, 4),
    degree=st.integers(1, 5),
    lopsided=st.sampled_from([1e-3, 1.0, 300.0]),
    max_t=st.sampled_from([0.05, 1.0, 3.0]),
    seed=st.integers(0, 2**31 - 2),
    out=st.integers(1, 12),
    inside=st.integers(1, 12),
    batch=st.sampled_from([(), (1,), (5,), (3, 2), (2, 1, 3)]),
)


@settings(max_examples=60)
@given(case=CASES)
def test_the_layer_and_all_its_gradients_are_those_of_the_definition(case: Case) -> None:
    """Protects the factorisation, the product rule through the monomials, the gauge, and every shape of x."""
    found = differentiated(power_linear, case.leaves(), case.incoming(), case.scale)
    expected = differentiated(defined_layer, case.leaves(), case.incoming(), case.scale)
    for name, *pair, of in zip(["y", *NAMES], found, expected, terms(case), strict=True):
        assert_close(*pair, name, of)


@settings(max_examples=30)
@given(case=CASES)
def test_delta_and_its_gradients_are_those_of_the_definition(case: Case) -> None:
    """Protects merging and analysis, which differentiate ΔW through autograd and not through the written backward."""
    incoming = torch.randn(case.out, case.inside, dtype=F64, generator=torch.Generator().manual_seed(case.seed))
    found = differentiated(power_delta, case.leaves()[3:], incoming, case.scale)
    expected = differentiated(by_definition, case.leaves()[3:], incoming, case.scale)
    sizes = [leaf.detach().abs().requires_grad_() for leaf in case.leaves()[3:]]
    bounds = differentiated(by_definition, sizes, incoming.abs(), case.scale)
    for name, *pair, of in zip(["ΔW", "A", "B", "c"], found, expected, bounds, strict=True):
        assert_close(*pair, name, of)


@settings(max_examples=30)
@given(case=CASES, wants=st.tuples(*[st.booleans()] * 4), onto=st.booleans())
def test_the_pullback_gives_what_is_asked_for_and_nothing_else(
    case: Case, wants: tuple[bool, bool, bool, bool], onto: bool
) -> None:
    """Protects callers with an autograd function of their own: each gradient by itself, and sums made in place."""
    x, _, _, A, B, c = (leaf.detach() for leaf in case.leaves())
    x, incoming = x.reshape(-1, case.inside), case.incoming().reshape(-1, case.out)
    start = torch.ones_like(incoming) if onto else None
    y = power_forward(x, A, B, c, case.scale, onto=start)
    assert (y is start) is onto
    of = terms(case)[0].reshape(y.shape)
    assert_close(y, x @ by_definition(A, B, c, case.scale).T + float(onto), "y", of)

    everything = power_pullback(x, incoming, A, B, c, case.scale)
    pulled = power_pullback(x, incoming, A, B, c, case.scale, wants, onto=torch.ones_like(x) if onto else None)
    shift = [float(onto), 0.0, 0.0, 0.0]
    for name, wanted, found, whole, more in zip(["x", "A", "B", "c"], wants, pulled, everything, shift, strict=True):
        assert (found is not None) is wanted, name
        if found is not None and whole is not None:
            assert_close(found, whole + more, name)


@given(case=CASES)
@settings(max_examples=30)
def test_gradients_of_the_coefficients_are_the_moments(case: Case) -> None:
    """Protects what θ's gradient is made from: Σ_ij G_ij t_ij^k with G = gyᵀ x, c_0 included."""
    x, _, _, A, B, c = (leaf.detach() for leaf in case.leaves())
    x, incoming = x.reshape(-1, case.inside), case.incoming().reshape(-1, case.out)
    t, G = case.scale * (B @ A), incoming.T @ x
    expected = torch.stack([(G * t**k).sum() for k in range(case.degree + 1)])
    found = power_pullback(x, incoming, A, B, c, case.scale, (False, False, False, True))[3]
    assert found is not None
    # Each moment to what rounding leaves of the sum of the sizes of its terms, of which it may be a small remainder.
    sizes = torch.stack([(G.abs() * (case.scale * B.abs() @ A.abs()) ** k).sum() for k in range(case.degree + 1)])
    assert ((found - expected).abs() <= 1e-12 * sizes).all()


@pytest.mark.parametrize(("r", "degree"), [(1, 1), (1, 4), (2, 3), (3, 2)])
def test_the_backward_pass_is_the_derivative_of_the_forward_pass(r: int, degree: int) -> None:
    """Protects against a definition in this file that is wrong in the same way: differences know only the forward."""
    case = Case(r, degree, 1.0, 1.0, seed=5, out=4, inside=3, batch=(2,))
    assert torch.autograd.gradcheck(lambda *leaves: power_linear(*leaves, case.scale), case.leaves())


@given(
    case=CASES,
    needs=st.lists(st.booleans(), min_size=6, max_size=6).filter(any),
    biased=st.booleans(),
)
@settings(max_examples=40)
def test_only_what_needs_a_gradient_has_one(case: Case, needs: list[bool], biased: bool) -> None:
    """Protects frozen weights and frozen factors, alone and together, and layers without a bias."""
    leaves = [leaf.detach().requires_grad_(need) for leaf, need in zip(case.leaves(), needs, strict=True)]
    full = case.leaves()
    if not biased:
        leaves[2] = full[2] = None  # type: ignore[call-overload]
    y, expected = power_linear(*leaves, case.scale), power_linear(*full, case.scale)
    assert y.requires_grad is any(leaf is not None and leaf.requires_grad for leaf in leaves)
    if not y.requires_grad:
        return
    y.backward(case.incoming())
    expected.backward(case.incoming())
    for name, leaf, whole in zip(NAMES, leaves, full, strict=True):
        if leaf is not None:
            assert (leaf.grad is not None) is leaf.requires_grad, name
        if leaf is not None and leaf.grad is not None:
            assert_close(leaf.grad, whole.grad, name)


def test_what_is_kept_between_forward_and_backward_is_what_was_given() -> None:
    """Protects the memory of a step: nothing of the size of R · (in + out), of T · R, or of the weight is kept."""
    case = Case(3, 3, 1.0, 1.0, seed=0)
    leaves = case.leaves()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        power_linear(*leaves, case.scale)
    given_storage = {leaf.untyped_storage().data_ptr() for leaf in leaves}
    assert kept
    assert all(t.untyped_storage().data_ptr() in given_storage for t in kept)


@pytest.mark.parametrize("degree", [2, 3])
@given(seed=st.integers(0, 2**31))
@settings(max_examples=10)
def test_the_rank_of_a_polynomial_of_a_generic_product_is_the_number_of_monomials(degree: int, seed: int) -> None:
    """Protects the theory underneath: rank ΔW ≤ R without a constant, R + 1 with one, and both are attained."""
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(2, 40, dtype=F64, generator=generator)
    B = torch.randn(50, 2, dtype=F64, generator=generator)
    c = torch.ones(degree + 1, dtype=F64)
    for constant in (0, 1):
        c[0] = constant
        sigma = torch.linalg.svdvals(power_delta(A, B, c, 1.0))
        rank = monomial_count(2, degree) + constant
        assert (sigma[rank:] <= 1e-12 * sigma[0]).all()
        assert sigma[rank - 1] > 1e-9 * sigma[0]


@given(c_0=st.floats(-10, 10), seed=st.integers(0, 2**31 - 2))
@settings(max_examples=20)
def test_the_constant_is_added_to_every_entry(c_0: float, seed: int) -> None:
    """Protects functions that are not centred: c_0 alone is c_0 (x·1) 1ᵀ, and its gradient (Σ gy)·(Σ x)."""
    case = Case(2, 2, 1.0, 1.0, seed)
    x, _, _, A, B, _ = (leaf.detach() for leaf in case.leaves())
    x, incoming = x.reshape(-1, case.inside), case.incoming().reshape(-1, case.out)
    c = torch.tensor([c_0, 0.0, 0.0], dtype=F64)
    torch.testing.assert_close(power_delta(A, B, c, case.scale), torch.full((case.out, case.inside), c_0, dtype=F64))
    torch.testing.assert_close(power_forward(x, A, B, c, case.scale), c_0 * x.sum(1, True).expand(-1, case.out))
    grad_c = power_pullback(x, incoming, A, B, c, case.scale)[3]
    assert grad_c is not None
    torch.testing.assert_close(grad_c[0], (incoming.sum(1) * x.sum(1)).sum())


@given(r=st.integers(1, 6), degree=st.integers(1, 5), seed=st.integers(0, 2**31))
@settings(max_examples=30)
def test_the_monomials_are_all_of_them_and_each_once(r: int, degree: int, seed: int) -> None:
    """Protects the index table: as many rows as are counted, no two alike, from the variables up to the pure powers."""
    M = torch.rand(r, 1, dtype=F64, generator=torch.Generator().manual_seed(seed)) + 0.5
    rows = monomials(M, degree)
    assert rows.shape == (monomial_count(r, degree), 1)
    assert torch.equal(rows[:r], M)
    # Prime numbers tell products of them apart, exactly.
    primes = torch.tensor([2.0, 3, 5, 7, 11, 13], dtype=F64)[:r, None]
    products = monomials(primes, degree).flatten().tolist()
    assert len(set(products)) == math.comb(r + degree, degree) - 1
    assert max(products) == float(primes[-1]) ** degree


@given(case=CASES, shuffle=st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_the_order_of_the_rank_one_terms_is_immaterial(case: Case, shuffle: object) -> None:
    """Protects the symmetry of BA: columns of B permuted with rows of A change nothing, and permute the gradients."""
    x, _, _, A, B, c = (leaf.detach() for leaf in case.leaves())
    x, incoming = x.reshape(-1, case.inside), case.incoming().reshape(-1, case.out)
    order = list(range(case.r))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    y_of, x_of, _, _, A_of, B_of, c_of = terms(case)
    plain = [power_forward(x, A, B, c, case.scale), *power_pullback(x, incoming, A, B, c, case.scale)]
    A, B = A[order], B[:, order]
    permuted = [power_forward(x, A, B, c, case.scale), *power_pullback(x, incoming, A, B, c, case.scale)]
    bounds = [y_of.reshape(incoming.shape), x_of.reshape(x.shape), A_of, B_of, c_of]
    for name, found, expected, of in zip(["y", "x", "A", "B", "c"], permuted, plain, bounds, strict=True):
        assert found is not None
        assert expected is not None
        reordered = expected[order] if name == "A" else expected[:, order] if name == "B" else expected
        assert_close(found, reordered, name, of)


def in_float32_and_float64(case: Case, collinear: float) -> list[list[Tensor]]:
    """y, ΔW and the gradients of x, A, B, c, in each precision."""
    outcomes = []
    for dtype in (torch.float32, F64):
        x, weight, _, A, B, c = (leaf.detach() for leaf in case.leaves())
        # Without the constant, which would hide the rest; and with every power, of which none may hide the others.
        c = torch.cat([torch.zeros(1, dtype=F64), c[1:].sign()])
        if collinear < 1:
            A, B = A[:1] + collinear * A, B - B.mean(1, keepdim=True)
            B = B * (case.max_t / (case.scale * B @ A).abs().max())
        leaves = [leaf.to(dtype).requires_grad_() for leaf in (x, A, B, c)]
        y = power_linear(leaves[0], torch.zeros_like(weight, dtype=dtype), None, *leaves[1:], case.scale)
        gradients = torch.autograd.grad((y * case.incoming(dtype)).sum(), leaves)
        assert {t.dtype for t in (y, *gradients)} == {dtype}
        outcomes.append([y.detach(), power_delta(*leaves[1:], case.scale).detach(), *gradients])
    return outcomes


LARGE = st.builds(
    Case,
    r=st.integers(1, 4),
    degree=st.integers(1, 8),
    lopsided=st.sampled_from([1e-6, 1e-3, 1.0, 1e6]),
    max_t=st.sampled_from([1e-3, 0.1, 1.0]),
    seed=st.integers(0, 2**31 - 2),
    out=st.just(40),
    inside=st.just(30),
    batch=st.just((7,)),
)


@settings(max_examples=40)
@given(case=LARGE)
@example(case=Case(1, 8, 1e-6, 1.0, 0, 40, 30, (7,)))
@example(case=Case(1, 8, 1e6, 1.0, 0, 40, 30, (7,)))
def test_float32_is_enough(case: Case) -> None:
    """Protects training, which is in float32: however A and B share the size of BA, no power is lost on the way."""
    for name, *pair in zip(["y", "ΔW", "x", "A", "B", "c"], *in_float32_and_float64(case, 1.0), strict=True):
        assert_close(*pair, name, tolerance=1e-4)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31 - 2), r=st.integers(2, 4), degree=st.integers(2, 6))
def test_terms_that_cancel_in_the_product_cost_no_precision(seed: int, r: int, degree: int) -> None:
    """Protects adapters whose rows of A have become nearly the same: terms of BA cancel there, their powers more."""
    case = Case(r, degree, 1.0, 1.0, seed, 40, 30, (7,))
    for name, *pair in zip(["y", "ΔW", "x", "A", "B", "c"], *in_float32_and_float64(case, 0.03), strict=True):
        assert_close(*pair, name, tolerance=1e-3)


def test_coefficients_may_be_more_precise_than_the_factors() -> None:
    """Protects a series fitted in float64 beside an adapter in float32: each gradient in its own type."""
    x, weight, bias, A, B, _ = Case(2, 3, 1.0, 1.0, seed=1).leaves(torch.float32)
    c = torch.ones(4, dtype=F64, requires_grad=True)
    y = power_linear(x, weight, bias, A, B, c, 1.0)
    y.sum().backward()
    assert y.dtype is torch.float32
    assert c.grad is not None
    assert c.grad.dtype is F64
    rows, grad_rows = x.detach().reshape(-1, x.shape[-1]), y.detach().reshape(-1, y.shape[-1])
    for dtype in (torch.float32, F64):
        pulled = power_pullback(rows, grad_rows, A.detach(), B.detach(), c.detach().to(dtype), 1.0)
        assert [t.dtype for t in pulled if t is not None] == [torch.float32] * 3 + [dtype]


@pytest.mark.parametrize("nought", ["A", "B", "scale"])
def test_a_product_that_is_nought_has_finite_gradients(nought: str) -> None:
    """Protects the first step, at B = 0, and the gauge, which has nothing to balance where A is 0."""
    x, weight, bias, A, B, c = (leaf.detach() for leaf in Case(2, 3, 1.0, 1.0, seed=1).leaves())
    A, B = (A * 0, B) if nought == "A" else (A, B * 0) if nought == "B" else (A, B)
    scale = 0.0 if nought == "scale" else 0.3
    leaves = [leaf.requires_grad_() for leaf in (x, weight, bias, A, B, c)]
    y = power_linear(*leaves, scale)
    expected = defined_layer(*leaves, scale)
    torch.testing.assert_close(y, expected)
    for found, right in zip(*(torch.autograd.grad(out.sum(), leaves) for out in (y, expected)), strict=True):
        torch.testing.assert_close(found, right)


def test_a_diverged_adapter_is_not_an_error_but_not_a_number() -> None:
    """Protects the message a diverged run ends with: not one of an eigenvalue solver."""
    x, weight, bias, A, B, c = (leaf.detach() for leaf in Case(4, 2, 1.0, 1.0, seed=1).leaves())
    assert power_linear(x, weight, bias, A * math.nan, B, c, 1.0).isnan().all()
    assert not power_linear(x, weight, bias, A / 0.0, B, c, 1.0).isfinite().any()


def test_tables_made_under_inference_mode_serve_training() -> None:
    """Protects training after evaluation: a cached tensor made in inference mode could not be saved for backward."""
    case = Case(5, 2, 1.0, 1.0, seed=2)  # a rank that no other test asks for
    with torch.inference_mode():
        power_linear(*case.leaves(), case.scale)
    leaves = case.leaves()
    power_linear(*leaves, case.scale).sum().backward()
    power_delta(*leaves[3:], case.scale).sum().backward()


def test_a_constant_alone_is_refused() -> None:
    """Protects callers from a polynomial of degree 0, which needs no factors."""
    x, weight, bias, A, B, _ = Case(2, 3, 1.0, 1.0, seed=1).leaves()
    with pytest.raises(ValueError, match="at least two coefficients"):
        power_linear(x, weight, bias, A, B, torch.ones(1, dtype=F64), 1.0)

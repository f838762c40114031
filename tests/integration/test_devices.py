"""What other devices ask of the engines, as far as a CPU can show it. `nox -s gpu` looks at CUDA itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lrlora import LRLoraConfig
from lrlora.bases import BASES
from lrlora.engines import ENGINES, coefficients, eager, entrywise, native, passes
from lrlora.testing.engine_layers import F32, Layer, Step

NAMES = ["direct", "auto", "monomials", "polynomial", "tabulated"]
COMPOSED = ("sum", "product", "scaled")
"""Bases that are made of others."""
SINC = Layer(BASES.create("sinc"), largest=1.0, r=3, out=40, inside=30)


class Operations(TorchDispatchMode):
    """Notes every operation, and every tensor that goes into one or comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.dtypes: dict[torch.dtype, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.count += 1
        for value in tree_leaves((args, kwargs, found)):
            if isinstance(value, Tensor):
                self.dtypes.setdefault(value.dtype, str(func))
        return found


def step(engine: str, layer: Layer = SINC, device: str = "cpu", x: torch.dtype = F32) -> Step:
    """A step of float32 factors under a plan, moved to a device."""
    made = Step(ENGINES.create(engine), layer, layer.leaves(F32)).planned(growth=1.5)
    first, *rest = [leaf.detach().to(device) for leaf in made.leaves]
    leaves = [leaf.requires_grad_() for leaf in (first.to(x), *rest)]
    return Step(made.engine, layer, leaves, None if made.plan is None else made.plan.to(device))


def run(here: Step, weight: Tensor, bias: Tensor) -> list[Tensor]:
    """The outputs and the gradients of both ways of adding an update to a base layer."""
    x, found = here.leaves[0], []
    for y in (here.linear(weight, bias), here.add_to(nn.functional.linear(x, weight.to(x.dtype), bias.to(x.dtype)))):
        found += [y.detach(), *here.gradients(y.float().square().sum())]
    return found


@pytest.mark.parametrize(
    ("engine", "x", "centered"),
    [
        ("direct", F32, True),
        ("auto", torch.bfloat16, True),
        ("monomials", F32, False),
        ("monomials", torch.bfloat16, True),
        ("polynomial", torch.bfloat16, False),
        ("polynomial", F32, True),
        ("tabulated", torch.bfloat16, True),
        ("tabulated", F32, False),
    ],
)
def test_a_planned_step_needs_no_values_and_stays_on_its_device(engine: str, x: torch.dtype, centered: bool) -> None:
    layer = Layer(SINC.basis, largest=1.0, r=4, out=40, inside=30, centered=centered)
    here = step(engine, layer, "meta", x)
    for i, tensor in enumerate(run(here, *(one.to("meta") for one in layer.base(F32)))):
        assert tensor.device.type == "meta"
        where, which = divmod(i, 1 + len(here.leaves))
        leaf = here.leaves[which - 1]
        shape, dtype = ((len(here.leaves[0]), layer.out), x) if which == 0 else (leaf.shape, leaf.dtype)
        assert (tensor.shape, tensor.dtype) == (shape, dtype), (where, which)


@pytest.fixture
def without_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device that has no float64, where no native pass runs either."""
    for module in (coefficients, eager, entrywise, passes):
        monkeypatch.setattr(module, "widest_float", lambda device: F32)
    monkeypatch.setattr(native, "takes", lambda *tensors: False)


@pytest.mark.parametrize(
    ("engine", "basis"),
    [
        *((name, "sinc") for name in NAMES if name != "auto"),
        *(("auto", name) for name in BASES.names() if name not in COMPOSED),
    ],
)
@pytest.mark.usefixtures("without_float64")
def test_a_step_without_float64_has_the_same_values(engine: str, basis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Layer(BASES.create(basis), r=3, out=40, inside=30)
    here, base = step(engine, layer), layer.base(F32)
    with Operations() as operations:
        found = run(here, *base)
    assert torch.float64 not in operations.dtypes, operations.dtypes[torch.float64]
    monkeypatch.undo()
    own = None if here.plan is None else type(here.plan).from_dict(here.plan.to_dict()).to("cpu")
    for one, exact in zip(found, run(Step(here.engine, layer, here.leaves, own), *base), strict=True):
        assert float((one - exact).norm()) <= 1e-4 * float(exact.norm())


@pytest.mark.parametrize("engine", ["monomials", "polynomial", "tabulated"])
def test_a_device_forms_a_whole_update_at_once(engine: str) -> None:
    # The blocks of a CPU would be thousands of small kernels on a device.
    here, counts = step(engine, SINC, "meta"), []
    for out, inside in ((16, 8), (8192, 4096)):
        large = Layer(SINC.basis, r=SINC.r, out=out, inside=inside)
        shapes: Sequence[tuple[int, ...]] = ((4, inside), (SINC.r, inside), (out, SINC.r))
        factors = [torch.empty(shape, device="meta", requires_grad=True) for shape in shapes]
        with torch.device("meta"), Operations() as operations:
            at = Step(here.engine, large, [*factors, *here.leaves[3:]], here.plan)
            y = at.linear(torch.empty(out, inside), torch.empty(out))
            at.gradients(y.sum())
        counts.append(operations.count)
    assert counts[0] == counts[1]


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Operations that are not deterministic raise, and memory that is not written is full of NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("passes_are", ["native", "eager"])
@pytest.mark.parametrize(
    "fields",
    [*({"engine": name} for name in NAMES), {"grid": "learned"}],
    ids=lambda fields: next(iter(fields.values())),
)
def test_deterministic_algorithms_give_the_same_bits_twice(
    fields: dict[str, str], passes_are: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if passes_are == "eager":
        monkeypatch.setattr(native, "takes", lambda *tensors: False)
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        base = nn.Sequential(nn.Linear(24, 36), nn.Tanh(), nn.Linear(36, 24))
        config = LRLoraConfig(r=3, target_modules=["0", "2"], init_weights=False, input_scale=5.0, **fields)
        model = get_peft_model(base, config).train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        for _ in range(4):
            model(torch.randn(16, 24)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        found.append([p.detach() for p in model.parameters()])
    assert all(bool(one.isfinite().all()) and torch.equal(one, other) for one, other in zip(*found, strict=True))

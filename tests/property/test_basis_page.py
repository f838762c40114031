"""docs/bases.md says what every basis is and what was measured of it: the tables are in step with the code.

``python tests/property/test_basis_page.py`` prints both tables anew, with what ``matrix`` costs beside that of sinc,
and the errors of gradients.
"""

from __future__ import annotations

import math
import re
import statistics
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lrlora.bases import BASES, Basis
from lrlora.engines import ENGINES
from lrlora.policies import GRIDS
from lrlora.transfer import TransferFunction

PAGE = Path(__file__).parents[2] / "docs" / "bases.md"
COMPOSITIONS = {"product": "product:sinc,gaussian", "scaled": "scaled:sinc,0.5,4.0", "sum": "sum:sinc,gaussian"}
SPECS = [
    spec
    for entry in BASES
    if entry.origin == "built-in"
    for spec in (["ridge", "ridge:sigmoid"] if entry.name == "ridge" else [COMPOSITIONS.get(entry.name, entry.name)])
]
N, BOUND, TOLERANCE = 50, 3.0, 2e-3  # the defaults of a config
F64 = torch.float64


def properties_row(spec: str) -> str:
    """What it claims, in order of the columns of the first table, less the formula."""
    p = BASES.create(spec).properties()
    smoothness = {math.inf: "analytic", None: "", 0: "continuous"}.get(p.smoothness, f"C{p.smoothness}")
    numbers = ["" if value is None else f"{value:.4g}" for value in (p.support, p.period, p.band_limit)]
    return " | ".join([p.parity or "", smoothness, *numbers])


def identity_error(basis: Basis) -> float:
    """Relative root-mean-square error of the best straight line in the basis, as ``identity`` fits it at the start."""
    grid, omega = GRIDS.create("uniform").points(N, BOUND), torch.ones(N, dtype=F64)
    z = torch.linspace(-BOUND, BOUND, 8 * N + 1, dtype=F64)
    features = basis.matrix(z, grid, omega) - basis.matrix(torch.zeros((), dtype=F64), grid, omega)
    solution = torch.linalg.lstsq(features, z[:, None], rcond=1e-8, driver="gelsd").solution[:, 0]
    return float((features @ solution - z).norm() / z.norm())


def evaluation(basis: Basis, max_z: float) -> str:
    """What ``auto`` does with a φ of order one at ω = 1, for a weight of 256 × 256 at rank 8."""
    A, B, *theta = drawn(max_z, seed=0)
    told = ENGINES.create("auto", tolerance=TOLERANCE).plan(A, B, TransferFunction(basis, *theta)).describe()
    found = re.match(r"(?:\d+ )?(monomials|polynomial) of degree (\d+)|(table) of (\d+) cells", told)
    assert found is not None, told
    return " ".join(part for part in found.groups() if part)


def drawn(max_z: float, seed: int) -> list[Tensor]:
    """A ``(8, 256)`` and B ``(256, 8)`` with max |BA| = ``max_z``; a, ω and the grid points, ``(N,)`` each."""
    generator = torch.Generator().manual_seed(seed)
    A, B = (torch.randn(*shape, dtype=F64, generator=generator) for shape in ((8, 256), (256, 8)))
    B = B * (max_z / (B @ A).abs().max())
    amplitude = torch.randn(N, dtype=F64, generator=generator) / N**0.5
    grid = GRIDS.create("uniform").points(N, BOUND)
    return [one.requires_grad_() for one in (A, B, amplitude, torch.ones(N, dtype=F64), grid)]


def measured_row(spec: str) -> list[str]:
    """The columns of the second table, less the cost."""
    basis = BASES.create(spec)
    error = identity_error(basis)
    return ["under 1e-4" if error < 1e-4 else f"{error:.2g}", *(evaluation(basis, z) for z in (1.0, 3.0))]


def page_rows(spec: str) -> list[str]:
    """The rows of the page that begin with this basis."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(f"| `{spec}` |")]


@pytest.mark.parametrize("spec", SPECS)
def test_the_tables_say_what_the_basis_claims_and_what_is_measured(spec: str) -> None:
    claimed, measured = page_rows(spec)
    assert claimed.endswith(f" | {properties_row(spec)} |")
    line, *engines = measured.split(" | ")[1:4]
    found_line, *found_engines = measured_row(spec)
    assert line == found_line
    # The degree is the lowest whose error passes the tolerance: rounding on another machine, or a fit that weighs
    # entries a little otherwise, moves it by one or two, and what the page says of the basis stays true.
    for told, found in zip(engines, found_engines, strict=True):
        form, size = found.split()
        assert told.split()[0] == form
        assert abs(int(told.split()[1]) - int(size)) <= (0 if form == "table" else 2)


def gradient_errors(spec: str, max_z: float) -> dict[str, float]:
    """Relative errors of ΔW and of the gradients of A, a, ω and the grid points through ``auto``: medians of 12 draws.

    The gradient of ΔW is that of a layer with random inputs.
    """
    errors: dict[str, list[float]] = {"ΔW": [], "A": [], "a": [], "ω": [], "z_i": []}
    for seed in range(12):
        A, B, *theta = drawn(max_z, seed)
        f = TransferFunction(BASES.create(spec), *theta)
        of_update = torch.randn(len(B), A.shape[1], dtype=F64, generator=torch.Generator().manual_seed(seed + 100))
        found = []
        for engine in ("auto", "direct"):
            delta = ENGINES.create(engine, tolerance=TOLERANCE).delta(A, B, f)
            found.append([delta, *torch.autograd.grad(delta, [A, *theta], of_update)])
        for name, (one, exact) in zip(errors, zip(*found, strict=True), strict=True):
            errors[name].append(float((one - exact).detach().norm() / exact.detach().norm()))
    return {name: statistics.median(values) for name, values in errors.items()}


def cost_ratios() -> dict[str, float]:
    """Time of ``matrix`` on 128 points and 50 functions in float64 beside sinc's: the fastest of interleaved calls."""
    bases = {spec: BASES.create(spec) for spec in SPECS}
    z, grid, omega = torch.randn(128, dtype=F64), torch.linspace(-BOUND, BOUND, N, dtype=F64), torch.ones(N, dtype=F64)
    times: dict[str, list[float]] = {spec: [] for spec in bases}
    for _ in range(201):
        for spec, basis in bases.items():
            start = time.perf_counter()
            basis.matrix(z, grid, omega)
            times[spec].append(time.perf_counter() - start)
    print(f"\nsinc takes {1e6 * min(times['sinc']):.2g} µs\n")
    return {spec: min(times[spec]) / min(times["sinc"]) for spec in times}


if __name__ == "__main__":
    for spec in SPECS:
        print(f"| `{spec}` | | {properties_row(spec)} |")
    ratios = cost_ratios()
    for spec in SPECS:
        print(f"| `{spec}` | {' | '.join(measured_row(spec))} | {ratios[spec]:.1f} |")
    print("\nrelative errors of gradients")
    for spec in ("sinc", "gaussian", "bspline", "bspline:2", "piecewise_linear"):
        for max_z in (1.0, 3.0):
            print(
                f"{spec} at {max_z:g}:", *(f"{key} {error:.1e}" for key, error in gradient_errors(spec, max_z).items())
            )

"""A figure of a basis: its functions, φ at the start of training, and the spectrum of φ of a product of low rank."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lrlora.analysis.linalg import singular_values
from lrlora.studies.errors import StudyError, said_in_one_line
from lrlora.studies.report.palette import FAINT, INK, looks
from lrlora.studies.report.svg import drawing_style, new_figure, svg_file
from lrlora.transfer import TransferFunction

if TYPE_CHECKING:
    from lrlora import LRLoraConfig

WIDTH, HEIGHT = 760, 560
FUNCTIONS = 6
"""Number of functions in the figure: the palette has no more colours."""
STARTS = ("identity", "unit", "random", "small")
"""Initialisations whose φ is drawn; with ``zero`` it is zero."""
SIZE, RANK = 96, 4
"""The product BA whose spectrum is drawn is ``SIZE`` × ``SIZE``, of this rank."""
RANGES = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Largest entries |s_in · BA| for which all singular values are drawn."""
NEGLIGIBLE = 1e-3
"""Singular values below this share of the largest are not counted as rank."""


def draw_basis(spec: str, grid_points: int = 50, bandwidth: str | float = 1.0) -> str:
    """Returns the figure as a file of SVG.

    Args:
        spec: The basis, with its options.
        grid_points: N.
        bandwidth: ω, a number or a ``bandwidth_init``.

    Raises:
        UnknownNameError: There is no such basis.
        StudyError: An option that it does not take, or values that are not finite.
    """
    config = make_config(basis=spec, num_grid_points=grid_points, bandwidth_init=bandwidth)
    with drawing_style("basis"):
        figure = new_figure(WIDTH, HEIGHT)
        functions, starts, spectra, ranks = figure.subplots(2, 2).flat
        _draw_functions(functions, transfer_of(config))
        _draw_starts(starts, config)
        _draw_spectra(spectra, ranks, config)
        return svg_file(
            figure, f"The basis {spec}: its functions, φ at the start, and the spectrum of φ(BA) over the range of BA."
        )


def make_config(**fields: Any) -> LRLoraConfig:
    """Returns a config; raises an error of one line if it is not valid.

    Raises:
        UnknownNameError: A name that there is not.
        StudyError: Anything else that the config refuses.
    """
    from lrlora import LRLoraConfig

    with said_in_one_line():
        return LRLoraConfig(**fields)


def transfer_of(config: LRLoraConfig, amplitude_init: Any = "random", depth: float = 0.5, seed: int = 0) -> Any:
    """Returns φ of a layer at ``depth`` at the start, centred, without the linear path and at scale one."""
    from lrlora.policies import AMPLITUDES, Start

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a start that fits badly, which the picture shows
        torch.manual_seed(seed)
        grid = config.policy("grid").points(config.num_grid_points, config.grid_bound)
        bandwidth = torch.full_like(grid, config.policy("bandwidth_init").value(depth))
        start = Start(config.make_basis(), grid, bandwidth, config.grid_bound, depth)
        amplitude = AMPLITUDES.create(amplitude_init).values(start)
    return TransferFunction(start.basis, amplitude, bandwidth, grid, residual=False)


def low_rank_product(seed: int = 0) -> Tensor:
    """Returns BA, scaled to a largest entry of one, ``(SIZE, SIZE)``."""
    generator = torch.Generator().manual_seed(seed)
    b = torch.randn(SIZE, RANK, generator=generator, dtype=torch.float64)
    a = torch.randn(RANK, SIZE, generator=generator, dtype=torch.float64)
    product = b @ a
    return product / product.abs().max()


def spectrum(transfer: TransferFunction, product: Tensor, largest: float) -> Tensor:
    """Returns the singular values of φ(z) − φ(0) for z = BA with this largest entry, as shares of the first.

    Raises:
        StudyError: φ is not finite there.
    """
    update = transfer(product * largest)
    if not update.isfinite().all():
        raise StudyError(f"basis {transfer.basis!r}: φ is not finite for |z| up to {largest:g}; see lrlora basis check")
    values = singular_values(update)
    return values / values[0].clamp_min(torch.finfo(values.dtype).tiny)


def _draw_functions(axes: Any, transfer: TransferFunction) -> None:
    bound = float(transfer.grid.abs().max()) or 1.0
    z = torch.linspace(-1.25 * bound, 1.25 * bound, 801, dtype=torch.float64)
    values = transfer.basis.matrix(z, transfer.grid, transfer.bandwidth)
    chosen = sorted({round(place) for place in torch.linspace(0, len(transfer.grid) - 1, FUNCTIONS).tolist()})
    style = looks([str(index) for index in chosen], None)
    for index in chosen:
        look = style[str(index)]
        axes.plot(z, values[:, index], color=look.colour, label=f"i = {index + 1}")
    inside = values[z.abs() <= bound][:, chosen]  # a polynomial's values further out would hide all others
    low, high = float(inside.min()), float(inside.max())
    axes.set_ylim(low - 0.1 * (high - low or 1.0), high + 0.1 * (high - low or 1.0))
    for end in (-bound, bound):
        axes.axvline(end, color=FAINT, linewidth=0.8)
    axes.set_title(f"{len(chosen)} of the {len(transfer.grid)} functions ψ at ω = {float(transfer.bandwidth[0]):g}")
    axes.set_xlabel("z, the ends of the grid marked")
    axes.legend(frameon=False, fontsize=9, ncols=3, handlelength=1.2, columnspacing=1.0)
    _leave_room_above(axes, 0.3)


def _draw_starts(axes: Any, config: LRLoraConfig) -> None:
    bound = config.grid_bound
    z = torch.linspace(-1.25 * bound, 1.25 * bound, 801, dtype=torch.float64)
    style = looks(list(STARTS), None)
    drawn = {name: transfer_of(config, name)(z) for name in STARTS}
    axes.plot(z, z, color=INK, linewidth=0.8, linestyle=(0, (2, 2)), label="z")
    for name, phi in drawn.items():
        look = style[name]
        axes.plot(z, phi, **look.line, label=name)
    inside = z.abs() <= bound
    # `unit` sums all functions and may be a hundred times the others: the picture is of the others.
    shown = [drawn[name][inside] for name in ("identity", "random")]
    top = max(bound, *(float(phi.abs().max()) for phi in shown)) * 1.2
    axes.set_ylim(-top, top)
    for end in (-bound, bound):
        axes.axvline(end, color=FAINT, linewidth=0.8)
    axes.set_title("φ(z) − φ(0) at the start, by amplitude_init")
    axes.set_xlabel("z")
    axes.legend(frameon=False, fontsize=9, ncols=3, handlelength=1.4, columnspacing=1.0)
    _leave_room_above(axes, 0.3)


def _draw_spectra(spectra: Any, ranks: Any, config: LRLoraConfig) -> None:
    transfer, product = transfer_of(config), low_rank_product()
    style = looks([f"{largest:g}" for largest in RANGES], None)
    for largest in RANGES:
        look = style[f"{largest:g}"]
        values = spectrum(transfer, product, largest)
        spectra.semilogy(range(1, SIZE + 1), values, color=look.colour, label=f"{largest:g}")
    spectra.axvline(RANK, color=FAINT, linewidth=0.8)
    spectra.set_ylim(1e-9, 3)
    spectra.set_title(f"singular values of φ(BA), BA {SIZE} × {SIZE} of rank {RANK}")
    spectra.set_xlabel("index")
    spectra.set_ylabel("share of the largest")
    spectra.legend(
        title="largest |s_in · BA|", frameon=False, fontsize=9, title_fontsize=9, ncols=3, handlelength=1.2, loc="best"
    )

    sweep = torch.logspace(-2, 1, 31, dtype=torch.float64).tolist()
    found = [spectrum(transfer, product, largest) for largest in sweep]
    style = looks(["rank", "stable"], None)
    counted = [int((values > NEGLIGIBLE).sum()) for values in found]
    stable = [float(values.square().sum()) for values in found]
    ranks.semilogx(sweep, counted, color=style["rank"].colour, label=f"singular values above {NEGLIGIBLE:g}")
    ranks.semilogx(sweep, stable, color=style["stable"].colour, linestyle=(0, (5, 2)), label="stable rank")
    ranks.axhline(RANK, color=FAINT, linewidth=0.8)
    ranks.set_ylim(0, SIZE * 1.25)
    ranks.set_title(f"rank of φ(BA), {RANK} marked")
    ranks.set_xlabel("largest |s_in · BA|")
    ranks.legend(frameon=False, fontsize=9, loc="upper left")


def _leave_room_above(axes: Any, share: float) -> None:
    """Raise the upper limit, so that a legend lies above the lines."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + share * (high - low))

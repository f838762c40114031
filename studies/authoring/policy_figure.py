"""A policy as a picture, where one says more than its numbers: points, amplitudes, bandwidths and ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lrlora.policies.roles import ROLES
from lrlora.registry import UnknownNameError
from lrlora.studies.authoring.basis_figure import make_config, transfer_of
from lrlora.studies.authoring.policy_kinds import make_policy, registry_of
from lrlora.studies.errors import StudyError
from lrlora.studies.report.palette import FAINT, looks
from lrlora.studies.report.svg import drawing_style, new_figure, svg_file

WIDTH, HEIGHT = 620, 300
NUMBERS = (1, 2, 5, 9, 17, 33, 50)
"""Numbers of points for which a grid is drawn."""
DEPTHS = {"first layer": 0.0, "middle": 0.5, "last layer": 1.0}
BASE_RANK, LAYERS = 16, 24
"""The rank that is spread, and over how many layers."""


def draw_policy(kind: str, spec: str) -> str:
    """Returns the figure as a file of SVG.

    Args:
        kind: One of :data:`DRAWN`.
        spec: The policy, with its options.

    Raises:
        UnknownNameError: No such kind, or no such policy.
        StudyError: A kind that is not drawn, or options that do not fit.
    """
    registry_of(kind)
    if kind not in DRAWN:
        raise StudyError(f"a {kind} is not drawn, only {', '.join(DRAWN)} are; see: lrlora policy show {kind} {spec}")
    policy = make_policy(kind, spec)
    with drawing_style(kind), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        figure = new_figure(WIDTH, HEIGHT)
        try:
            said = DRAWN[kind](figure, policy)
        except UnknownNameError:
            raise
        except (TypeError, ValueError, RuntimeError) as error:
            raise StudyError(f"{kind} {spec!r} cannot be drawn: {error}; see: lrlora policy check {kind}") from None
        return svg_file(figure, f"The {kind} {spec}: {said}.")


def _draw_grid(figure: Any, policy: Any) -> str:
    axes = figure.subplots()
    look = looks(["points"], None)["points"]
    for row, number in enumerate(NUMBERS):
        points = policy.points(number, 3.0)
        axes.axhline(row, color=FAINT, linewidth=0.6)
        axes.plot(points, torch.full_like(points, row), "|", color=look.colour, markersize=13, markeredgewidth=1.3)
    axes.set_yticks(range(len(NUMBERS)), [str(number) for number in NUMBERS])
    axes.set_ylabel("N")
    axes.set_xlabel("z")
    axes.set_xlim(-3.15, 3.15)
    axes.set_title(f"grid points of {policy!r} on [−3, 3]{', trained from here' if policy.learned else ''}")
    return "its points on [-3, 3] for several N"


def _draw_amplitudes(figure: Any, policy: Any) -> str:
    left, right = figure.subplots(1, 2)
    style = looks(list(DEPTHS), None)
    config = make_config()
    z = torch.linspace(-3.0, 3.0, 401, dtype=torch.float64)
    for name, depth in DEPTHS.items():
        look = style[name]
        transfer = transfer_of(config, policy, depth)
        left.plot(transfer.grid, transfer.amplitude, look.marker, color=look.colour, markersize=3, label=name)
        right.plot(z, transfer(z), **look.line, label=name)
    left.set_title(f"amplitudes of {policy!r}")
    left.set_xlabel("grid point")
    right.set_title("φ(z) − φ(0), basis sinc")
    right.set_xlabel("z")
    right.legend(frameon=False, fontsize=9)
    return "amplitudes and φ of the basis sinc, in the first, middle and last layer"


def _draw_bandwidths(figure: Any, policy: Any) -> str:
    axes = figure.subplots()
    depth = torch.linspace(0, 1, 101).tolist()
    values = [policy.value(place) for place in depth]
    axes.plot(depth, values, color=looks(["omega"], None)["omega"].colour)
    axes.set_ylim(0, max(values) * 1.1)
    axes.set_xlabel("depth of the layer, from the first to the last")
    axes.set_ylabel("ω")
    axes.set_title(f"bandwidth at the start, {policy!r}")
    return "the bandwidth by depth"


def _draw_ranks(figure: Any, policy: Any) -> str:
    axes = figure.subplots()
    alike: dict[tuple[int, ...], list[str]] = {}
    for role in ROLES:
        ranks = tuple(policy.rank(BASE_RANK, role, depth, LAYERS) for depth in range(LAYERS))
        alike.setdefault(ranks, []).append(role)
    style = looks([" ".join(roles) for roles in alike.values()], None)
    for ranks, roles in alike.items():
        label = " ".join(roles)
        look = style[label]
        named = "every role" if len(alike) == 1 else label
        axes.plot(range(LAYERS), ranks, look.marker, color=look.colour, markersize=4, linestyle="-", label=named)
    axes.set_ylim(0, 1.3 * max(rank for ranks in alike for rank in ranks))
    axes.set_xlabel(f"layer, of {LAYERS}")
    axes.set_ylabel("rank")
    axes.set_title(f"ranks of {policy!r} for r = {BASE_RANK}")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    return "the rank of each role by layer"


DRAWN: dict[str, Callable[[Any, Any], str]] = {
    "amplitude_init": _draw_amplitudes,
    "bandwidth_init": _draw_bandwidths,
    "grid": _draw_grid,
    "rank_allocation": _draw_ranks,
}
"""The kinds that are drawn."""

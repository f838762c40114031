"""Conformance checks of grids, sharings, placements, initialisations and the other policies."""

from lrlora.testing.policies.grids import check_grid
from lrlora.testing.policies.places import check_layer_choice, check_placement
from lrlora.testing.policies.ranks import check_rank_allocation
from lrlora.testing.policies.sharings import check_sharing, check_sharing_scope
from lrlora.testing.policies.starts import (
    check_amplitude_init,
    check_bandwidth_init,
    check_input_scale,
    check_positive_map,
)

__all__ = [
    "check_amplitude_init",
    "check_bandwidth_init",
    "check_grid",
    "check_input_scale",
    "check_layer_choice",
    "check_placement",
    "check_positive_map",
    "check_rank_allocation",
    "check_sharing",
    "check_sharing_scope",
]

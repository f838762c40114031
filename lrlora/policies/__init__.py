"""The choices an adapter is composed of: each axis of an ablation, each in a registry of its own.

A policy is written as a spec, ``"name"`` or ``"name:argument,…"``, or passed as an instance; every policy works with
every other, and a pair that makes no sense together says so when the config is made.
"""

from lrlora.policies.amplitudes import AmplitudeInit, Start
from lrlora.policies.bandwidths import BandwidthInit, PositiveMap
from lrlora.policies.grids import Grid
from lrlora.policies.layer_choices import LayerChoice
from lrlora.policies.placements import Placement, resolve_target_modules
from lrlora.policies.ranks import RankAllocation, allocate_ranks
from lrlora.policies.roles import depth_of, register_family, role_of
from lrlora.policies.scales import InputScale
from lrlora.policies.sharing import Scope, Sharing
from lrlora.policies.tables import (
    AMPLITUDES,
    BANDWIDTHS,
    GRIDS,
    INPUT_SCALES,
    LAYER_CHOICES,
    PLACEMENTS,
    POSITIVE_MAPS,
    RANKS,
    SCOPES,
    SHARINGS,
)

__all__ = [
    "AMPLITUDES",
    "BANDWIDTHS",
    "GRIDS",
    "INPUT_SCALES",
    "LAYER_CHOICES",
    "PLACEMENTS",
    "POSITIVE_MAPS",
    "RANKS",
    "SCOPES",
    "SHARINGS",
    "AmplitudeInit",
    "BandwidthInit",
    "Grid",
    "InputScale",
    "LayerChoice",
    "Placement",
    "PositiveMap",
    "RankAllocation",
    "Scope",
    "Sharing",
    "Start",
    "allocate_ranks",
    "depth_of",
    "register_family",
    "resolve_target_modules",
    "role_of",
]
